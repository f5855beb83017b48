"""Cross-validation by the commands a user types: at once, in a sweep, killed in the middle, and never mixed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from fran.datasources.phantom import make_phantoms
from fran.errors import ConfigError, StoreError
from fran.evaluation.intervals import Bootstrap
from fran.io.case_table import FILE, CaseScore, write_cases
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.tracking.cv_groups import group_for
from fran.tracking.mlflow_logger import client_of, sqlite_uri
from fran.tracking.runs import RunRecord, read_record, training_lock, write_record
from fran.workflows import cv as workflow
from fran.workflows.cv_show import check_poolable, collect, group_of
from fran.workflows.entry import Job, compose_job
from fran.workflows.projects import existing_project
from fran.workflows.run_tracking import cv_folder, identity_record
from fran.workflows.schema import CvConfig, TrainConfig

QUICK = (
    "project=demo", "patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]", "model.filters=4", "trainer.steps_per_epoch=2",
    "trainer.num_workers=0", "tracking.overlay_every=0",
)  # fmt: skip


def _record(folder: Path, fold: int | str, lr: float = 0.01, folds: str = "f" * 32) -> RunRecord:
    folder.mkdir()
    (folder / "config.yaml").write_text(f"fold: {fold}\ntrainer: {{optimiser: {{lr: {lr}}}, threads: {fold}}}\n")
    return RunRecord(folder, "p", "plan1", "dynunet", fold, f"{lr}", folds, "d", "2026-01-01", {})


def test_runs_that_are_no_folds_of_one_cross_validation_are_refused_with_what_differs(tmp_path: Path) -> None:
    first, second = _record(tmp_path / "a", 0), _record(tmp_path / "b", 1)
    check_poolable([first, second])
    slower, dealt = _record(tmp_path / "c", 2, lr=0.001), _record(tmp_path / "d", 3, folds="0" * 32)
    again, everything = _record(tmp_path / "e", 1), _record(tmp_path / "f", "all")
    with pytest.raises(ConfigError) as caught:
        check_poolable([first, second, slower, dealt, again, everything])
    text = str(caught.value)
    assert "c: other settings than a: trainer.optimiser.lr: 0.01 -> 0.001" in text
    assert "d: cases were dealt to folds in another way than for a" in text
    assert "fold 1: more than one run" in text
    assert "f: was trained on all cases" in text
    assert "threads" not in text


def test_folds_of_other_settings_are_said_to_be_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project("p", ProjectFolders("p", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid"))
    project.folders.checkpoints.mkdir(parents=True)
    made = []
    for fold, lr in enumerate((0.1, 0.2)):
        made.append(_record(project.folders.checkpoints / f"f{fold}", fold, lr).ended({"stopped_by": "max_time"}))
        write_record(made[-1])
        write_cases(made[-1].folder / FILE, [CaseScore(f"case_{fold}", "organ", 0.9)])
    with pytest.raises(StoreError, match=r"fran cv project=p\n.*\n  f1: other settings than f0: .*lr: 0.1 -> 0.2"):
        group_of(project, None)
    group = group_for(cv_folder(project.folders), made[1], {})
    assert collect(project, group, [0, 1, 2], Bootstrap(samples=100)) is not None
    why = "f0: other settings than f1: trainer.optimiser.lr: 0.2 -> 0.1"
    said = capsys.readouterr().out
    assert f"not in it: fold 0: {why}\n" in said and "not in it: fold 2: not trained\n" in said
    collect(project, group, [0, 1], Bootstrap(samples=100), as_json=True)
    assert json.loads(capsys.readouterr().out)["missing"] == {"0": why}


@pytest.mark.slow
def test_a_fold_that_another_process_took_meanwhile_is_left_to_it(
    fran,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = make_phantoms(tmp_path / "raw" / "demo", 5, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    job = compose_job("cv", CvConfig, [*QUICK, "folds=[0,1,2]"])
    made = existing_project(job.config.paths, job.config.project)
    trained: list[int | str] = []

    def train(job: Job[TrainConfig], run_folder: Path | None) -> None:
        """What is trained here is fold 0, and while it is, others train fold 1 to its end and begin fold 2."""
        trained.append(job.config.fold)
        for fold, ended in ((0, "max_epochs"), (1, "max_epochs"), (2, None)):
            theirs = compose_job("train", TrainConfig, [*QUICK, f"fold={fold}"])
            record = identity_record(theirs, "demo", made.split(fold, None).digest)
            folder = made.folders.checkpoints / f"f{fold}"
            folder.mkdir(parents=True)
            write_record(replace(record, folder=folder, result={"stopped_by": ended}))
        locks.enter_context(training_lock(made.folders.checkpoints / "f2"))

    monkeypatch.setattr(workflow.train, "train", train)
    monkeypatch.setattr(workflow, "collect", lambda *_: None)
    with ExitStack() as locks:
        workflow.cv(job)
    assert trained == [0]


@pytest.mark.slow
def test_folds_are_trained_once_go_on_after_a_kill_and_become_one_result(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 6, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    runs = fran_home / "cold" / "checkpoints" / "demo"
    group = fran_home / "projects" / "demo" / "cv" / "plan1-dynunet-cv-1"
    nothing = fran("cv", "show", "project=demo")
    assert nothing.returncode == 1
    assert "fran cv project=demo" in nothing.stderr

    swept = fran("train", "-m", *QUICK, "trainer.max_epochs=1", "fold=0,1", "tracking.register=true")
    assert swept.returncode == 0, swept.stderr
    assert (group / "group.json").is_file()
    before = read_record(runs / "plan1-dynunet-f0-1")
    store = client_of(sqlite_uri(fran_home / "projects" / "demo" / "mlflow.db"))
    of_fold = {n: store.get_model_version_by_alias("demo-plan1-dynunet", f"best-f{n}") for n in (0, 1)}
    names = {n: store.get_run(version.run_id).info.run_name for n, version in of_fold.items()}
    assert names == {n: f"plan1-dynunet-f{n}-1" for n in (0, 1)}
    dices = {n: read_record(runs / name).result["best_dice"] for n, name in names.items()}
    best = store.get_model_version_by_alias("demo-plan1-dynunet", "best")
    assert best.version == of_fold[max(dices, key=lambda n: (dices[n], -n))].version
    assert best.source.endswith("checkpoints/best.ckpt")

    # the whole of it, killed while fold 2 is trained
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "fran.cli", "cv", *QUICK, "trainer.max_epochs=1", "folds=[0,1,2]"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        _wait_for(runs / "plan1-dynunet-f2-1" / "run.json")
        process.kill()
    planned = fran("cv", *QUICK, "trainer.max_epochs=1", "folds=[0,1,2]", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    rows = [line.split() for line in planned.stdout.splitlines()[2:5]]
    assert rows[0] == ["0", "finished", "plan1-dynunet-f0-1", "nothing"]
    assert rows[2] == ["2", "interrupted", "plan1-dynunet-f2-1", "go", "on"]

    done = fran("cv", *QUICK, "trainer.max_epochs=1", "folds=[0,1,2]")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in runs.iterdir()) == [f"plan1-dynunet-f{n}-1" for n in range(3)]
    assert read_record(runs / "plan1-dynunet-f0-1") == before
    assert read_record(runs / "plan1-dynunet-f2-1").finished
    assert "plan1-dynunet-cv-1: 4 cases of 3 folds" in done.stdout
    with (group / "cases.csv").open() as stream:
        assert sorted({row["fold"] for row in csv.DictReader(stream)}) == ["0", "1", "2"]

    client = client_of(sqlite_uri(fran_home / "projects" / "demo" / "mlflow.db"))
    experiment = client.get_experiment_by_name("demo").experiment_id
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent = found.pop("plan1-dynunet-cv-1")
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert sorted(found) == [f"plan1-dynunet-f{n}-1" for n in range(3)]
    assert all(run.info.status == "FINISHED" for run in (parent, *found.values()))
    assert parent.data.metrics["cv/dice_n"] == 4

    shown = fran("cv", "show", "project=demo", "json=true")
    assert shown.returncode == 0, shown.stderr
    content = json.loads(shown.stdout)
    assert content["n_cases"] == 4
    assert content["missing"] == {"3": "not trained", "4": "not trained"}

    longer = fran("train", *QUICK, "trainer.max_epochs=2", "fold=3")
    assert longer.returncode == 0, longer.stderr
    mixed = fran("cv", "show", "project=demo", "runs=[plan1-dynunet-f0-1,plan1-dynunet-f3-1]")
    assert mixed.returncode == 2
    assert "plan1-dynunet-f3-1: other settings than plan1-dynunet-f0-1: trainer.max_epochs: 1 -> 2" in mixed.stderr
    assert "Traceback" not in mixed.stderr


def _wait_for(path: Path, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)
