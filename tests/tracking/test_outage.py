"""Nothing that an MLflow store does after a training began ends it, and what it missed it gets later."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from mlflow.entities import Metric

from fran.errors import StoreError
from fran.tracking import run_logger
from fran.tracking.late import bring_all, unfinished
from fran.tracking.mlflow_logger import check_store, client_of, make_logger, sqlite_uri
from fran.tracking.runs import RunRecord, write_record
from fran.tracking.settings import TrackingSettings
from fran.tracking.unsent import UNSENT, Unsent
from fran.training.interrupt import TrainingInterrupted
from tests.conftest import Fran
from tests.workflows.sweeping import demo_project

from .mlflow_server import free_port, mlflow_server
from .tiny import train

Make = Callable[..., RunRecord]


class AtEpoch(pl.Callback):
    """Does something at the end of an epoch, before its metrics are logged."""

    def __init__(self, work: dict[int, Callable[[], object]]) -> None:
        self.work = work

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.work.get(trainer.current_epoch, lambda: None)()


class Interrupted(pl.Callback):
    """Ends the training as a signal does."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise TrainingInterrupted("stopped by SIGTERM at step 1", 15)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that failed is asked again at once, and a server that is away once."""
    monkeypatch.setattr(run_logger, "PAUSE_S", 0.0)
    monkeypatch.setattr(run_logger, "PAUSE_SHARE", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def _id(folder: Path) -> str:
    return str(json.loads((folder / "run" / "tracking.json").read_text())["run_id"])


def _losses(client: Any, run_id: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, "train_loss")]


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [line for line in said if "did not take" in line]


def _bring(folder: Path, record: RunRecord, **result: Any) -> Any:
    """What `fran mlflow merge` does, for the run of `train`."""
    write_record(replace(record, folder=folder / "run", result=result))
    return bring_all(unfinished(folder), folder / "cv")


@pytest.mark.filterwarnings("ignore")
def test_a_run_deleted_during_training_gets_what_it_missed_once_it_is_restored(
    tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(sqlite_uri(tmp_path / "proj" / "mlflow.db"))
    work = {1: lambda: client.delete_run(_id(tmp_path)), 3: lambda: client.restore_run(_id(tmp_path))}
    run_id = train(tmp_path, epochs=5, callbacks=[AtEpoch(work)])
    assert _losses(client, run_id) == sorted(set(_losses(client, run_id)))
    assert len(_losses(client, run_id)) == 5
    assert client.get_run(run_id).info.status == "FINISHED"
    (said,) = _warnings(caplog)
    assert "did not take metrics of run: The run" in said
    assert "deleted" in said and "ends no training" in said


@pytest.mark.filterwarnings("ignore")
def test_what_was_missing_at_the_end_is_brought_later_and_what_stays_deleted_is_left_so(
    tmp_path: Path, make_record: Make
) -> None:
    client = client_of(sqlite_uri(tmp_path / "proj" / "mlflow.db"))
    run_id = train(tmp_path, epochs=3, callbacks=[AtEpoch({1: lambda: client.delete_run(_id(tmp_path))})])
    assert '"status": "FINISHED"' in (tmp_path / "run" / UNSENT).read_text()
    result = {"best_dice": 0.5, "best_epoch": 1, "stopped_by": "max_epochs", "steps": 3}
    (tmp_path / "run" / "curves.png").write_bytes(b"curves")
    assert _bring(tmp_path, make_record(0), **result).deleted == ["run"]
    assert len(_losses(client, run_id)) == 1
    client.restore_run(run_id)
    with (tmp_path / "run" / UNSENT).open("a") as stream:
        stream.write('{"key": "cut sho')  # as a kill leaves it
    report = bring_all(unfinished(tmp_path), tmp_path / "cv")
    assert (report.continued, report.problems) == (["run"], [])
    run = client.get_run(run_id)
    assert len(_losses(client, run_id)) == 3
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best/dice"] == 0.5
    assert {a.path for a in client.list_artifacts(run_id, "checkpoints")} == {"checkpoints/best.ckpt"}
    assert {a.path for a in client.list_artifacts(run_id, "curves")} == {"curves/curves.png"}
    assert unfinished(tmp_path) == []


@pytest.mark.filterwarnings("ignore")
def test_a_resume_sends_what_was_missing_and_not_how_the_run_had_ended(tmp_path: Path) -> None:
    run_id = train(tmp_path, epochs=1)
    client = client_of(sqlite_uri(tmp_path / "proj" / "mlflow.db"))
    kept = Unsent(tmp_path / "run")
    kept.keep([Metric("late", float("nan"), 1000, 7)], status="KILLED")
    running: list[str] = []
    look = AtEpoch({2: lambda: running.append(client.get_run(run_id).info.status)})
    assert train(tmp_path, epochs=3, callbacks=[look]) == run_id
    assert running == ["RUNNING"]
    assert [(p.timestamp, p.step) for p in client.get_metric_history(run_id, "late")] == [(1000, 7)]
    assert client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_a_signal_is_no_error_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, epochs=2, callbacks=[Interrupted()])
    client = client_of(sqlite_uri(tmp_path / "proj" / "mlflow.db"))
    assert "fran.error" not in client.get_run(_id(tmp_path)).data.tags
    assert "error.txt" not in {a.path for a in client.list_artifacts(_id(tmp_path))}


def test_a_server_that_is_away_is_an_error_at_the_beginning_within_seconds_and_without_the_password(
    tmp_path: Path,
) -> None:
    port = free_port()
    settings = TrackingSettings(uri=f"http://me:secret@127.0.0.1:{port}")
    begun = time.monotonic()
    with pytest.raises(StoreError, match=rf"cannot use http://127.0.0.1:{port}: .*start it, or train with") as caught:
        check_store(settings)
    assert time.monotonic() - begun < 60, "MLflow's own patience is four minutes"
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_server_that_is_away_is_said_before_anything_is_preprocessed(
    fran: Fran, fran_home: Path, tmp_path: Path
) -> None:
    demo_project(fran, tmp_path, 2)
    settings = ("project=demo", "patch_dim0=32", "patch_dim1=16", f"tracking.uri=http://127.0.0.1:{free_port()}")
    for more in ((), ("--dry-run",)):
        done = fran("train", *settings, *more, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
        assert done.returncode == 1
        assert "no answer (connection refused); start it, or train with" in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    assert not list(fran_home.rglob("manifest.json"))
    assert not list((fran_home / "cold" / "checkpoints" / "demo").iterdir()), "no run was begun"


def test_a_store_that_failed_is_left_alone_for_a_while(
    tmp_path: Path, make_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, uri, _ = make_store(tmp_path / "proj")
    (tmp_path / "run").mkdir()
    logger = make_logger(
        TrackingSettings(uri=uri), project="kits", run_name="r", project_folder=tmp_path, run_folder=tmp_path / "run"
    )
    assert logger is not None
    asked = []

    def away(client: Any, run_id: str) -> None:
        asked.append(run_id)
        raise OSError("away")

    assert not logger.attempt("this", away)
    assert not logger.attempt("this", away)
    logger.log_metrics({"loss": 1.0}, 1)
    assert len(asked) == 1
    assert not logger.attempt("this", away, at_once=True)
    assert len(asked) == 2
    now = time.monotonic()
    monkeypatch.setattr(run_logger.time, "monotonic", lambda: now + 2 * run_logger.PAUSE_S)
    logger.log_metrics({"loss": 0.5}, 2)
    history = client_of(uri).get_metric_history(str(logger.run_id), "loss")
    assert sorted((p.step, p.value) for p in history) == [(1, 1.0), (2, 0.5)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("back", [False, True], ids=["for good", "and comes back"])
def test_a_server_that_goes_away_ends_no_training(
    tmp_path: Path, impatient: None, make_record: Make, caplog: pytest.LogCaptureFixture, back: bool
) -> None:
    port = free_port()
    (tmp_path / "server").mkdir()
    with ExitStack() as first, ExitStack() as second:
        uri = first.enter_context(mlflow_server(tmp_path / "server", port=port))
        work: dict[int, Callable[[], object]] = {1: first.close}
        if back:
            work[2] = lambda: second.enter_context(mlflow_server(tmp_path / "server", port=port))
        run_id = train(tmp_path, epochs=4, uri=uri, callbacks=[AtEpoch(work)])
        assert len(_warnings(caplog)) == 1
        assert f"MLflow at http://127.0.0.1:{port} did not take" in _warnings(caplog)[0]
        if not back:
            record = make_record(0)
            assert "did not take it" in _bring(tmp_path, record).problems[0]
            second.enter_context(mlflow_server(tmp_path / "server", port=port))
            assert _bring(tmp_path, record, best_dice=0.5).continued == ["run"]
        client = client_of(uri)
        assert len(_losses(client, run_id)) == 4
        assert client.get_run(run_id).info.status == "FINISHED"
