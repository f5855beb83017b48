"""The verbs about a project, as a user types them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantoms
from fran.errors import ConfigError
from fran.io.manifest import Manifest, ManifestEntry
from fran.plans.schema import Plan
from fran.projects.project import Project
from fran.tracking.runs import RunRecord, training_lock, write_record
from fran.workflows.entry import Job
from fran.workflows.machine_advice import CPU_PATCH_VOXELS
from fran.workflows.plan_data import properties_of
from fran.workflows.project_drop import project_drop
from fran.workflows.project_folds import project_folds
from fran.workflows.project_groups import project_groups
from fran.workflows.project_ls import project_ls
from fran.workflows.project_properties import project_properties
from fran.workflows.project_status import project_status
from fran.workflows.projects import folders_of
from fran.workflows.schema import (
    PathsConfig,
    ProjectConfig,
    ProjectDropConfig,
    ProjectFoldsConfig,
    ProjectGroupsConfig,
    ProjectLsConfig,
    ProjectPropertiesConfig,
    ProjectStatusConfig,
)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, object]:
    """What every verb's configuration has, for a project of two groups, folds and one preprocessed folder."""
    paths = PathsConfig(*(str(tmp_path / name) for name in ("projects", "cold", "rapid", "checkpoints")))
    made = Project("organs", folders_of(paths, ProjectConfig("organs")))
    made.create("abdomen")
    raw = [make_phantoms(tmp_path / "raw" / name, n, n, name=name) for name, n in (("organs", 3), ("later", 2))]
    made.add_data([Datasource(folder, modality="CT") for folder in raw], test=[False, True])
    made.maybe_store_projectwide_properties()
    entry = ManifestEntry("x.h5", "k", 7, (1, 2, 3), (1.0, 1.0, 1.0), {1: 2}, {}, "CT", "organs")
    cases = {case.case_id: entry for case in made.cases()[:4]}
    Manifest(made.folders.fixed_spacing / "spc_100_100_100_abcd", "source", {}, "key", cases).save()
    return {"paths": paths, "project": ProjectConfig("organs")}


def job(config: object) -> Job:  # type: ignore[type-arg]
    return Job(config, {}, {}, ())


def test_a_plan_that_clips_what_networks_look_at_is_said(
    config: dict,  # type: ignore[type-arg]
    caplog: pytest.LogCaptureFixture,
) -> None:
    project = Project("organs", folders_of(config["paths"], config["project"]))
    low, high = (int(v) for v in project.properties["intensity_clip_range"])
    wide = properties_of(project, Plan(clip_hu=[low - 50, high + 50]))
    assert wide == properties_of(project, Plan()) == project.properties and not caplog.records
    narrow = properties_of(project, Plan(clip_hu=[low + 9, high + 50]))
    assert narrow["intensity_clip_range"][0] == low + 9 and "what it cuts off is not seen" in caplog.text
    with pytest.raises(ConfigError, match="clip_hu: expected a window around"):
        properties_of(project, Plan(clip_hu=[high + 50, high + 90]))


def test_ls_lists_every_project_also_one_that_cannot_be_read(
    config: dict,  # type: ignore[type-arg]
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = config["paths"]
    run = folders_of(paths, config["project"]).checkpoints / "plan1-dynunet-f0-1"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("plan_name: plan1\n")
    broken = Path(paths.projects) / "broken" / "cases.db"
    broken.parent.mkdir()
    broken.write_bytes(b"no database at all" * 99)
    project_ls(job(ProjectLsConfig(paths)))
    shown = capsys.readouterr().out
    columns, first, second, problem = shown.splitlines()[:4]
    assert columns.split() == ["project", "training", "test", "runs", "last", "run", "begun", "(UTC)", "folder"]
    assert first.split()[:4] == ["broken", "?", "?", "0"] and str(broken) in problem
    assert second.split()[:5] == ["organs", "3", "2", "1", "plan1-dynunet-f0-1"]
    project_ls(job(ProjectLsConfig(paths, json=True)))
    assert [row["n_training"] for row in json.loads(capsys.readouterr().out)] == [0, 3]
    project_ls(job(ProjectLsConfig(replace(paths, projects=str(run)))))
    assert "make one: fran init -t <title>" in capsys.readouterr().out


def test_status_is_text_for_people(config: dict, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    project_status(job(ProjectStatusConfig(**config)))
    shown = capsys.readouterr().out
    assert "project organs (abdomen): 3 training and 2 test cases" in shown
    assert "4 of 5" in shown
    assert "label groups: one group" in shown
    assert "\nnext: fran train project=organs plan=plan1 " in shown
    project_status(job(ProjectStatusConfig(**config, json=True)))
    assert json.loads(capsys.readouterr().out)["n_cases"] == 5


def test_status_says_which_runs_can_go_on(config: dict, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    runs = folders_of(config["paths"], config["project"]).checkpoints
    for name, stopped_by in (("done", "max_epochs"), ("killed", None), ("stopped", "SIGTERM"), ("trained", None)):
        (runs / name).mkdir(parents=True)
        (runs / name / "config.yaml").write_text("plan_name: plan1\nfold: 0\n")
        (runs / name / "last.ckpt").touch()
        end = {"stopped_by": stopped_by}
        write_record(RunRecord(runs / name, "organs", "plan1", "dynunet", 0, *"abc", "2026-01-01", end))
    (runs / "stopped" / "last.ckpt").unlink()
    with training_lock(runs / "trained"):
        project_status(job(ProjectStatusConfig(**config, json=True)))
        states = {run["name"]: run["state"] for run in json.loads(capsys.readouterr().out)["runs"]}
        project_status(job(ProjectStatusConfig(**config)))
    expected = {"done": "finished", "killed": "interrupted", "stopped": "no checkpoint", "trained": "in training"}
    assert states == expected
    shown = capsys.readouterr().out
    assert "next: fran train project=organs resume=killed   (it was interrupted)\n" in shown and "in training" in shown
    os.utime(runs / "done" / "config.yaml", (2e9, 2e9))  # trained after the killed one, which was given up
    project_status(job(ProjectStatusConfig(**config)))
    assert "next: fran cv project=organs   (the folds that are missing: " in capsys.readouterr().out


def test_properties_say_what_to_begin_with(config: dict, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    project_properties(job(ProjectPropertiesConfig(**config)))
    shown = capsys.readouterr().out
    for words in ("intensity_clip_range", "foreground; exact", "To begin with:", "plan=plan1 'spacing=["):
        assert words in shown
    project_properties(job(ProjectPropertiesConfig(**config, patch_voxels=32768, json=True)))
    x, y, z = json.loads(capsys.readouterr().out)["recommendation"]["patch_size"]
    assert x * y * z <= 32768
    with pytest.raises(ConfigError, match="expected at least 4096"):
        project_properties(job(ProjectPropertiesConfig(**config, patch_voxels=8)))


@pytest.mark.parametrize("gpu", [True, False])
def test_the_patch_to_begin_with_is_one_for_this_machine(
    config: dict,  # type: ignore[type-arg]
    gpu: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fran.workflows.project_properties.has_gpu", lambda: gpu)
    project_properties(job(ProjectPropertiesConfig(**config, json=True)))
    found = json.loads(capsys.readouterr().out)["recommendation"]
    x, y, z = found["patch_size"]
    assert (x * y * z <= CPU_PATCH_VOXELS) is not gpu
    assert ("no CUDA device was found here" in found["reasons"][-1]) is not gpu


def test_folds_groups_and_drop(config: dict, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    project_folds(job(ProjectFoldsConfig(**config, n_folds=2, reassign=True)))
    assert "Dealt anew" in capsys.readouterr().out
    project_groups(job(ProjectGroupsConfig(**config, lm_groups=[["organs"], ["later"]])))
    assert capsys.readouterr().out.startswith("Labels\ndatasources of the group")
    project_drop(job(ProjectDropConfig(**config, name="later")))
    shown = capsys.readouterr().out
    assert "later: 2 cases left project organs, which has 3 now" in shown
    assert "no longer used: 2 cases in" in shown


@pytest.fixture
def made(fran, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """A project `organs` with a training and a test datasource; the folder of raw data."""
    for name, n, seed in (("organs", 5, 0), ("later", 2, 9)):
        make_phantoms(tmp_path / "raw" / name, n, seed, name=name)
    assert fran("init", "-t", "organs", "-i", str(tmp_path / "raw" / "organs")).returncode == 0
    assert fran("init", "-t", "organs", "-i", str(tmp_path / "raw" / "later"), "test=true").returncode == 0
    return tmp_path / "raw"


@pytest.mark.slow
def test_verbs_of_a_project(fran, made: Path) -> None:  # type: ignore[no-untyped-def]
    shown = fran("project", "status", "project=organs")
    assert shown.returncode == 0, shown.stderr
    assert "5 training and 2 test cases" in shown.stdout
    assert "next: fran preprocess project=organs" in shown.stdout
    assert "│" not in shown.stdout
    assert "\x1b" not in shown.stdout
    status = json.loads(fran("project", "status", "project=organs", "json=true").stdout)
    assert [d["name"] for d in status["datasources"]] == ["later", "organs"]

    properties = fran("project", "properties", "project=organs", "patch_voxels=32768").stdout
    assert "spacing=[" in properties
    assert "To begin with:" in properties
    too_small = fran("project", "properties", "project=organs", "patch_voxels=8")
    assert (too_small.returncode, "expected at least 4096" in too_small.stderr) == (2, True)

    frozen = fran("project", "folds", "project=organs", "n_folds=3")
    assert frozen.returncode == 2
    assert "fran project folds project=organs n_folds=3 reassign=true" in frozen.stderr
    assert "Traceback" not in frozen.stderr
    anew = fran("project", "folds", "project=organs", "n_folds=3", "reassign=true")
    assert f"digest {status['folds']['digest']} before" in anew.stdout
    folds = json.loads(fran("project", "folds", "project=organs", "json=true").stdout)
    assert (folds["n_folds"], sum(sum(c.values()) for c in folds["cases"].values())) == (3, 5)

    groups = fran("project", "groups", "project=organs", "lm_groups=[[organs],[later]]")
    assert groups.returncode == 0, groups.stderr
    unknown = fran("project", "groups", "project=organs", "lm_groups=[[organs],[latter]]")
    assert "did you mean 'later'" in unknown.stderr

    dropped = fran("project", "drop", "project=organs", "name=later")
    assert "2 cases left project organs, which has 5 now" in dropped.stdout
    again = fran("project", "drop", "project=organs", "name=later")
    assert (again.returncode, "has none called 'later'" in again.stderr) == (2, True)
    outside = fran("init", "project=organs", "datasource=[later]")
    assert outside.returncode == 2
    assert "lm_groups=[[organs],[later]]" in outside.stderr, "whose labels are meant is not guessed"
    back = fran("init", "project=organs", "datasource=[later]", "lm_groups=[[organs],[later]]")
    assert back.returncode == 0, back.stderr
    assert json.loads(fran("project", "status", "project=organs", "json=true").stdout)["n_test"] == 2


@pytest.mark.slow
def test_folders_are_added_to_a_project_that_exists(fran, made: Path) -> None:  # type: ignore[no-untyped-def]
    make_phantoms(made / "more", 2, 20, name="more")
    before = json.loads(fran("project", "folds", "project=organs", "json=true").stdout)["cases"]
    done = fran("add-data", "project=organs", str(made / "more"), "labels={1: kidney, 2: tumour}")
    assert done.returncode == 0, done.stderr
    assert "cases: 2 added, 0 changed, 0 as they were" in done.stderr
    assert "project organs: 9 cases (2 kept for testing)" in done.stderr
    after = json.loads(fran("project", "folds", "project=organs", "json=true").stdout)["cases"]
    assert sum(sum(counts.values()) for counts in after.values()) == 7
    assert all(after[fold].get("organs", 0) == counts.get("organs", 0) for fold, counts in before.items())
    again = fran("add-data", "-t", "organs", "-i", str(made / "more"))
    assert again.returncode == 0 and "cases: 0 added, 0 changed, 2 as they were" in again.stderr
    unmade = fran("add-data", "project=demo", str(made / "more"))
    assert unmade.returncode == 2 and "make it: fran demo" in unmade.stderr


def test_project_that_is_not_there(fran) -> None:  # type: ignore[no-untyped-def]
    done = fran("project", "status", "project=demo")
    assert done.returncode == 2
    assert "make it: fran demo" in done.stderr
