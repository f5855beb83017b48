"""Offline stores become part of the project's, whole and once, also when the merge is killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from fran.errors import StoreError
from fran.tracking.merge import ORIGIN, STATE, Target, find_stores, merge_stores
from fran.tracking.parents import PARENT

MERGE = (
    "import sys; from pathlib import Path; from fran.tracking.merge import Target, merge_stores, find_stores\n"
    "merge_stores(find_stores(sys.argv[1]), Target(sys.argv[2], sys.argv[3]))"
)
CV_TAGS = {"fran.kind": "cross-validation", "fran.group_digest": "d1-f1", "fran.group": "plan1-dynunet-cv-1"}


def _offline(make_store: Any, folder: Path, fold: int, points: int = 3, keys: int = 2) -> tuple[Any, str, str]:
    """A store with a parent and one fold below it, as a job with tracking=offline leaves it."""
    client, _, experiment = make_store(folder)
    parent = client.create_run(experiment, tags=CV_TAGS, run_name="plan1-dynunet-cv-1", start_time=1000).info.run_id
    tags = {"fran.kind": "training", "fran.fold": str(fold), PARENT: parent, "note": "µ"}
    run_id = client.create_run(
        experiment, tags=tags, run_name=f"plan1-dynunet-f{fold}-1", start_time=2000 + fold
    ).info.run_id
    client.log_batch(run_id, params=[Param("trainer.seed", str(fold))])
    for key in range(keys):
        metrics = [Metric(f"m{key}", 0.1 * step, 5000 + step, step) for step in range(points)]
        metrics.append(Metric(f"m{key}", float("nan"), 5000 + points, points))
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
    dataset = DatasetInput(
        Dataset("kits", "digest", "local", "manifest.json"), [InputTag("mlflow.data.context", "training")]
    )
    client.log_inputs(run_id, [dataset])
    client.log_text(run_id, "a: 1\n", "config.yaml")
    client.log_text(run_id, "case\n", "validation/cases.csv")
    client.set_terminated(run_id, "FINISHED", end_time=9000)
    return client, parent, run_id


def _runs(client: Any, experiment: str) -> dict[str, Any]:
    found = client.search_runs([experiment])
    assert len({run.info.run_name for run in found}) == len(found), "a run was copied twice"
    return {run.info.run_name: run for run in found}


def _files(client: Any, run_id: str, below: str | None = None) -> set[str]:
    entries = client.list_artifacts(run_id, below)
    return {e.path for e in entries if not e.is_dir}.union(
        *(_files(client, run_id, e.path) for e in entries if e.is_dir)
    )


def _points(client: Any, run_id: str, key: str) -> list[tuple[int, int, str]]:
    return sorted((m.step, m.timestamp, repr(m.value)) for m in client.get_metric_history(run_id, key))


def test_two_stores_become_one_and_a_second_merge_changes_nothing(tmp_path: Path, make_store: Any) -> None:
    offline = tmp_path / "jobs"
    sources = [_offline(make_store, offline / f"f{fold}", fold) for fold in (0, 1)]
    client, uri, experiment = make_store(tmp_path / "project")
    target = Target(uri, (tmp_path / "project" / "mlartifacts").as_uri())
    stores = find_stores(offline)
    before = [store.read_bytes() for store in stores]
    report = merge_stores(stores, target)
    assert report.problems == []
    assert report.joined == ["plan1-dynunet-cv-1"]
    runs = _runs(client, experiment)
    assert sorted(runs) == ["plan1-dynunet-cv-1", "plan1-dynunet-f0-1", "plan1-dynunet-f1-1"]
    parent = runs["plan1-dynunet-cv-1"].info.run_id
    for fold, (source, _, origin) in enumerate(sources):
        run = runs[f"plan1-dynunet-f{fold}-1"]
        assert run.data.tags[PARENT] == parent
        assert run.data.tags[ORIGIN] == origin
        assert run.data.tags["note"] == "µ"
        assert run.data.params == {"trainer.seed": str(fold)}
        assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 2000 + fold, 9000)
        for key in ("m0", "m1"):
            assert _points(client, run.info.run_id, key) == _points(source, origin, key)
        assert run.inputs.dataset_inputs[0].dataset.digest == "digest"
        assert _files(client, run.info.run_id) == {"config.yaml", "validation/cases.csv"}
    again = merge_stores(stores, target)
    assert (again.copied, again.continued, again.problems) == ([], [], [])
    assert sorted(again.unchanged) == sorted(runs)
    assert _runs(client, experiment).keys() == runs.keys()
    assert [store.read_bytes() for store in stores] == before

    # the job went on after the merge; a run that was deleted here stays deleted
    source, _, origin = sources[1]
    source.log_metric(origin, "m0", 0.75, step=9)
    source.log_text(origin, "case,dice\n", "validation/cases.csv")
    client.delete_run(runs["plan1-dynunet-f0-1"].info.run_id)
    third = merge_stores(stores, target)
    assert third.continued == ["plan1-dynunet-f1-1"]
    assert third.deleted == ["plan1-dynunet-f0-1"]
    run_id = runs["plan1-dynunet-f1-1"].info.run_id
    assert _points(client, run_id, "m0") == _points(source, origin, "m0")
    text = client.download_artifacts(run_id, "validation/cases.csv", str(tmp_path))
    assert Path(text).read_text() == "case,dice\n"
    assert "plan1-dynunet-f0-1" not in _runs(client, experiment)


@pytest.mark.slow
def test_a_killed_merge_is_finished_by_the_next(tmp_path: Path, make_store: Any) -> None:
    offline = tmp_path / "jobs"
    sources = [_offline(make_store, offline / f"f{fold}", fold, points=500, keys=6) for fold in (0, 1)]
    client, uri, experiment = make_store(tmp_path / "project")
    root = (tmp_path / "project" / "mlartifacts").as_uri()
    with subprocess.Popen([sys.executable, "-c", MERGE, str(offline), uri, root]) as process:
        end = time.monotonic() + 200
        while not any("m1" in run.data.metrics for run in client.search_runs([experiment])):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    half = client.search_runs([experiment], "tags.`fran.kind` != 'cross-validation'")
    assert all(STATE not in run.data.tags for run in client.search_runs([experiment]) if run in half)
    merge_stores(find_stores(offline), Target(uri, root))
    runs = _runs(client, experiment)
    assert len(runs) == 3
    for fold, (source, _, origin) in enumerate(sources):
        run = runs[f"plan1-dynunet-f{fold}-1"]
        for key in range(6):
            assert _points(client, run.info.run_id, f"m{key}") == _points(source, origin, f"m{key}")
        assert STATE in run.data.tags
        assert _files(client, run.info.run_id) == {"config.yaml", "validation/cases.csv"}


def test_a_store_that_was_moved_brings_its_artefacts_and_one_without_them_says_so(
    tmp_path: Path, make_store: Any
) -> None:
    _offline(make_store, tmp_path / "there", 0)
    shutil.move(tmp_path / "there", tmp_path / "here")
    client, uri, experiment = make_store(tmp_path / "project")
    target = Target(uri, (tmp_path / "project" / "mlartifacts").as_uri())
    kept = (tmp_path / "here" / "mlartifacts").rename(tmp_path / "kept")
    report = merge_stores(find_stores(tmp_path / "here"), target)
    assert any("plan1-dynunet-f0-1: its artefacts are not beside" in line for line in report.problems)
    kept.rename(tmp_path / "here" / "mlartifacts")
    second = merge_stores(find_stores(tmp_path / "here"), target)
    assert "plan1-dynunet-f0-1" in second.continued
    run = _runs(client, experiment)["plan1-dynunet-f0-1"]
    assert _files(client, run.info.run_id) == {"config.yaml", "validation/cases.csv"}


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="tracking=offline"):
        find_stores(tmp_path)
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(StoreError, match=r"mlflow\.db: expected an MLflow store"):
        merge_stores(find_stores(tmp_path), Target("sqlite:///unused", None))
