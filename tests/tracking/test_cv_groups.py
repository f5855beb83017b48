"""Folds find their group and their parent run, whoever comes first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fran.errors import StoreError
from fran.tracking.cv_groups import chosen, find_group, group_for, groups_in
from fran.tracking.finish import finish_run
from fran.tracking.parents import PARENT, gather, log_summary, stores_of
from fran.tracking.registry import model_name, register
from fran.tracking.runs import RunRecord

SETTINGS = {"spacing": [1, 1, 2], "trainer": {"seed": 0}, "long": "x" * 400}
Make = Callable[..., RunRecord]

JOIN = """
import json, sys
from pathlib import Path
from fran.tracking.cv_groups import group_for
from fran.tracking.parents import gather
from fran.tracking.runs import read_record
record, cv, uri, experiment = read_record(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
group = group_for(cv, record, json.loads(sys.argv[5]))
print(group.name, gather(uri, experiment, group))
"""


def _tags(record: RunRecord) -> dict[str, str]:
    return {
        "fran.kind": "training", "fran.fold": str(record.fold), "fran.plan": record.plan,
        "fran.settings_digest": record.settings_digest, "fran.folds_digest": record.folds_digest,
    }  # fmt: skip


def test_a_group_is_made_once_and_another_says_why_it_is_another(
    tmp_path: Path, make_record: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cv = tmp_path / "cv"
    first, second = make_record(0), make_record(1)
    group = group_for(cv, first, SETTINGS)
    assert group.name == "plan1-dynunet-cv-1"
    assert group_for(cv, second, SETTINGS) == group
    assert caplog.text == ""
    longer = make_record(2, settings_digest="0711")
    other = group_for(cv, longer, {**SETTINGS, "trainer": {"seed": 1}})
    assert other.name == "plan1-dynunet-cv-2"
    assert "it differs from plan1-dynunet-cv-1: trainer.seed: 0 -> 1" in caplog.text
    dealt = make_record(3, folds_digest="a" * 32)
    assert group_for(cv, dealt, SETTINGS).name == "plan1-dynunet-cv-3"
    assert "cases are dealt to folds in another way" in caplog.text
    assert [g.name for g in groups_in(cv)] == [f"plan1-dynunet-cv-{n}" for n in (1, 2, 3)]
    assert find_group(cv, "plan1-dynunet-cv-2") == other
    with pytest.raises(StoreError, match="did you mean 'plan1-dynunet-cv-3'"):
        find_group(cv, "plan1-dynunet-cv3")


def test_members_are_those_of_equal_settings_and_the_newest_finished_one_stands_for_a_fold(
    tmp_path: Path, make_record: Make
) -> None:
    done = make_record(0, result={"stopped_by": "max_epochs"}, started_at="2026-01-01")
    again = make_record(0, "plan1-dynunet-f0-2", started_at="2026-01-02")
    everything, foreign = make_record("all"), make_record(1, settings_digest="0711")
    group = group_for(tmp_path / "cv", done, SETTINGS)
    assert group.members([done, again, everything, foreign]) == {0: [done, again]}
    assert chosen([done, again]) is done
    finished_too = again.ended({"stopped_by": "early_stopping"})
    assert chosen([done, finished_too]) is finished_too


@pytest.mark.slow
def test_folds_of_several_processes_get_one_parent(tmp_path: Path, make_record: Make, make_store: Any) -> None:
    client, uri, experiment = make_store(tmp_path / "proj")
    folds = [make_record(fold) for fold in range(3)]
    ids = [client.create_run(experiment, tags=_tags(r), run_name=r.name).info.run_id for r in folds]
    client.create_run(experiment, tags={**_tags(folds[0]), "fran.settings_digest": "0711"}, run_name="other settings")
    client.set_tag(ids[2], PARENT, "of a sweep")
    arguments = [str(tmp_path / "cv"), uri, experiment, json.dumps(SETTINGS)]
    calls = [[sys.executable, "-c", JOIN, str(r.folder), *arguments] for r in folds]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(call, **pipes) for call in calls]
    answers = set()
    for process in processes:
        output, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        answers.add(output)
    ((name, parent),) = [answer.split() for answer in answers]
    assert name == "plan1-dynunet-cv-1"
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert runs[name].info.run_id == parent
    assert runs[name].data.params["trainer.seed"] == "0"
    assert runs[name].data.tags["fran.params_in_settings_json_only"] == "long"
    assert [runs[r.name].data.tags[PARENT] for r in folds] == [parent, parent, "of a sweep"]
    assert PARENT not in runs["other settings"].data.tags
    assert len(runs) == 5


def test_the_summary_goes_to_the_parent_once(tmp_path: Path, make_record: Make, make_store: Any) -> None:
    client, uri, experiment = make_store(tmp_path / "proj")
    record = make_record(0)
    (record.folder / "tracking.json").write_text(json.dumps({"uri": uri, "run_id": "x"}))
    offline = make_record(1)
    own = f"sqlite:///{(offline.folder / 'mlflow.db').resolve()}"
    (offline.folder / "tracking.json").write_text(json.dumps({"uri": own, "run_id": "y"}))
    assert stores_of([record.folder, offline.folder], "sqlite:////p.db") == ["sqlite:////p.db", uri]
    group = group_for(tmp_path / "cv", record, SETTINGS)
    assert not log_summary(uri, group, {"cv/dice": 0.5}, [], 1, False)
    parent = gather(uri, experiment, group)
    table = tmp_path / "summary.csv"
    table.write_text("label\n")
    for _ in range(2):
        assert log_summary(uri, group, {"cv/dice": 0.5}, [table], 1, False)
    assert client.get_run(parent).info.status == "RUNNING"
    assert log_summary(uri, group, {"cv/dice": 0.75}, [table], 2, True)
    assert [(m.step, m.value) for m in client.get_metric_history(parent, "cv/dice")] == [(1, 0.5), (2, 0.75)]
    assert client.get_run(parent).info.status == "FINISHED"
    assert [a.path for a in client.list_artifacts(parent, "cross-validation")] == ["cross-validation/summary.csv"]


def test_the_end_of_a_run_can_be_searched_for(tmp_path: Path, make_record: Make, make_store: Any) -> None:
    client, _, experiment = make_store(tmp_path / "proj")
    for fold, dice in ((0, 0.4), (1, 0.6)):
        record = make_record(fold)
        (record.folder / "cases.csv").write_text(f"case,label,dice\na,kidney,{dice}\nb,kidney,\nc,kidney,{dice / 2}\n")
        (record.folder / "alarms.json").write_text(json.dumps([{"name": "absent class"}, {"name": "absent class"}]))
        (record.folder / "validation").mkdir()
        (record.folder / "validation" / "epoch_3.csv").write_text("case\n")
        run_id = client.create_run(experiment, tags=_tags(record), run_name=record.name).info.run_id
        client.log_metric(run_id, "val/dice", dice)
        facts = {
            "best_dice": dice,
            "best_epoch": 3,
            "epochs": 5,
            "steps": 50,
            "elapsed_s": 9.5,
            "stopped_by": "max_time",
        }
        (record.folder / "last.ckpt").write_bytes(b"weights")
        finish_run(client, run_id, record.folder, facts, checkpoint=bool(fold))
        finish_run(client, run_id, record.folder, facts, checkpoint=bool(fold))
        stored = [a.path for a in client.list_artifacts(run_id, "checkpoints")]
        assert stored == ["checkpoints/last.ckpt"] * fold
    query = 'tags."fran.plan" = \'plan1\' and metrics."val/dice" > 0.5'
    (found,) = client.search_runs([experiment], query)
    assert found.info.run_name == "plan1-dynunet-f1-1"
    assert found.data.metrics["best/dice"] == 0.6
    assert found.data.metrics["best/dice_kidney"] == pytest.approx(0.45)
    assert found.data.metrics["run/elapsed_s"] == 9.5
    assert found.data.tags["fran.best_dice"] == "0.6000"
    assert found.data.tags["fran.alarms"] == "absent class"
    assert found.data.tags["fran.stopped_by"] == "max_time"
    files = {a.path for a in client.list_artifacts(found.info.run_id, "validation")}
    assert files == {"validation/cases.csv", "validation/epoch_3.csv"}
    assert len(client.search_runs([experiment], "tags.\"fran.alarms\" LIKE '%absent class%'")) == 2


def test_a_failed_run_and_one_without_validation_have_no_best(
    tmp_path: Path, make_record: Make, make_store: Any
) -> None:
    client, _, experiment = make_store(tmp_path / "proj")
    record = make_record("all")
    run_id = client.create_run(experiment).info.run_id
    finish_run(client, run_id, record.folder, {})
    finish_run(client, run_id, record.folder, {"best_dice": float("nan"), "best_epoch": -1, "steps": 3})
    run = client.get_run(run_id)
    assert run.data.metrics == {"run/steps": 3.0}
    assert "fran.best_dice" not in run.data.tags


def test_the_alias_follows_the_highest_dice(tmp_path: Path, make_store: Any) -> None:
    client, _, experiment = make_store(tmp_path / "proj")
    name = model_name("kits", "plan1", "dynunet")
    best = tmp_path / "best.ckpt"
    best.write_bytes(b"weights")
    ids = []
    for fold, dice in ((0, 0.5), (1, 0.4), (0, 0.3), (1, 0.7)):
        run_id = client.create_run(experiment).info.run_id
        client.log_artifact(run_id, str(best), "checkpoints")
        register(client, run_id, name, fold, dice)
        ids.append(run_id)
    assert client.get_model_version_by_alias(name, "best").run_id == ids[3]
    assert client.get_model_version_by_alias(name, "best-f0").run_id == ids[0]
    version = client.get_model_version_by_alias(name, "best")
    assert client.download_artifacts(ids[3], "checkpoints/best.ckpt", str(tmp_path)).endswith("best.ckpt")
    assert version.source.endswith(f"{ids[3]}/artifacts/checkpoints/best.ckpt")
    assert Path(client.get_model_version_download_uri(name, version.version).removeprefix("file://")).read_bytes()
    register(client, ids[3], name, 1, 0.1)  # it went on after a resume, and got worse
    assert client.get_model_version_by_alias(name, "best").run_id == ids[0]
    assert len(client.search_model_versions(f"name = '{name}'")) == 4
    register(client, ids[1], name, "all", float("nan"))
    assert client.get_model_version_by_alias(name, "best").run_id == ids[0]
    with pytest.raises(StoreError, match="no stored checkpoint"):
        register(client, client.create_run(experiment).info.run_id, name, 0, 0.9)
