"""What `fran project status` proposes, in each state that a project comes through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantoms
from fran.io.files import write_json
from fran.io.manifest import Manifest, ManifestEntry
from fran.projects.project import Project
from fran.tracking.runs import RunRecord, training_lock, write_record
from fran.workflows import machine_advice
from fran.workflows.entry import compose_job
from fran.workflows.next_steps import next_steps
from fran.workflows.plans import plan_of
from fran.workflows.project_status import status_of
from fran.workflows.projects import folders_of
from fran.workflows.schema import PathsConfig, PlansConfig, ProjectConfig

INFER = "fran infer project=organs 'runs=[{}]' input=<folder of images>"


@pytest.fixture
def project(tmp_path: Path, fran_home: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Three cases in three folds, nothing preprocessed, on a machine with a GPU."""
    monkeypatch.setattr(machine_advice, "has_gpu", lambda: True)
    paths = PathsConfig(*(str(tmp_path / name) for name in ("projects", "cold", "rapid", "checkpoints")))
    made = Project("organs", folders_of(paths, ProjectConfig("organs")))
    made.create("")
    made.add_data(Datasource(make_phantoms(tmp_path / "raw" / "organs", 3, 0, name="organs"), modality="CT"))
    made.maybe_store_projectwide_properties()
    return made


def said(project: Project) -> list[str]:
    return [str(step) for step in next_steps(project, status_of(project))]


def preprocess(project: Project, plan: str, *settings: str) -> None:
    folder = project.folders.fixed_spacing / f"spc_{plan}"
    entry = ManifestEntry("x.h5", "k", 7, (1, 2, 3), (1.0, 1.0, 1.0), {1: 2}, {}, "CT", "organs")
    Manifest(folder, "source", {}, "key", {case.case_id: entry for case in project.cases()}).save()
    resolved = plan_of(compose_job("plans", PlansConfig, [f"plan={plan}", *settings]).config)
    project.store_plan(plan, yaml.safe_dump(asdict(resolved), sort_keys=False), {"source": ("key", str(folder))})


def trained(project: Project, name: str, fold: int | str, overrides: Sequence[str], ended: bool = True) -> Path:
    folder = project.folders.checkpoints / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"plan_name: plan2\nfold: {fold}\n")
    (folder / "last.ckpt").touch()
    write_json(folder / "overrides.json", ["project=organs", *overrides, f"fold={fold}"])
    end = {"stopped_by": "max_epochs" if ended else None}
    started = f"2100-01-01T00:00:{len([*project.folders.checkpoints.iterdir()]):02d}"
    write_record(RunRecord(folder, "organs", "plan2", "dynunet", fold, "same", "b", "c", started, end))
    return folder


def test_the_plan_that_is_preprocessed_with_what_was_changed_of_it(project: Project) -> None:
    assert said(project) == ["fran preprocess project=organs plan=plan1"]
    preprocess(project, "plan1")
    preprocess(project, "plan3", "spacing=[1,1,2]")
    assert said(project) == ["fran train project=organs plan=plan3 'spacing=[1.0,1.0,2.0]' fold=0"]


def test_without_a_gpu_the_preset_for_a_cpu(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_advice, "has_gpu", lambda: False)
    preprocess(project, "plan2")
    ((command, why),) = next_steps(project, status_of(project))
    assert command == "fran train project=organs plan=plan2 preset=cpu fold=0"
    assert "no CUDA device was found here" in why and "trainer.max_time=00:30:00" in why


def test_the_folds_that_are_missing_then_all_of_them(project: Project) -> None:
    preprocess(project, "plan2")
    own = ["plan=plan2", "trainer.max_epochs=9", "run=a", "find_batch_size=true"]
    trained(project, "a", 0, own)
    with training_lock(trained(project, "b", 1, own, ended=False)):
        missing, use = said(project)
    assert missing == ("fran cv project=organs plan=plan2 trainer.max_epochs=9   (the folds that are missing: 2)")
    assert use == INFER.format("a")
    os.utime(project.folders.checkpoints / "b" / "config.yaml", (5e9, 5e9))
    assert said(project) == ["fran train project=organs resume=b   (it was interrupted)"]
    trained(project, "c", 1, own)
    trained(project, "d", 2, own)
    os.utime(project.folders.checkpoints / "d" / "config.yaml", (6e9, 6e9))
    assert said(project) == [
        "fran cv show project=organs   (all folds as one result)",
        INFER.format("a,c,d") + "   (the mean of the folds)",
    ]


def test_a_run_on_all_cases_predicts_and_a_sweep_is_looked_at(project: Project) -> None:
    preprocess(project, "plan2")
    trained(project, "a", "all", ["plan=plan2"])
    assert said(project) == [INFER.format("a")]
    os.utime(trained(project, "b", 0, ["sweep=sweep-1"]) / "config.yaml", (5e9, 5e9))
    assert said(project)[0].startswith("fran sweep show project=organs sweep=sweep-1 ")


def test_a_plan_that_was_preprocessed_since_is_trained(project: Project) -> None:
    trained(project, "a", 0, ["plan=plan2"])
    record = project.folders.checkpoints / "a" / "run.json"
    record.write_text(record.read_text().replace("2100-", "2020-"))
    preprocess(project, "plan3")
    assert said(project) == ["fran train project=organs plan=plan3 fold=0"]


def test_errors_in_the_data_come_first_while_nothing_is_trained(project: Project, tmp_path: Path) -> None:
    broken = make_phantoms(tmp_path / "raw" / "more", 2, 5, name="more")
    next((broken / "lms").iterdir()).write_bytes(b"no image")
    project.add_data(Datasource(broken, modality="CT"))
    project.maybe_store_projectwide_properties()
    first, otherwise = said(project)
    assert first == "fran check project=organs   (1 error in the data; what is refused is left out)"
    assert otherwise == "fran preprocess project=organs plan=plan1   (or go on with the good cases)"
    preprocess(project, "plan2")
    trained(project, "a", 0, ["plan=plan2"])
    assert said(project)[0].startswith("fran cv ")
