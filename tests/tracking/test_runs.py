"""Records of runs, and the lock that a killed process leaves behind open."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fran.errors import StoreError
from fran.tracking.identity import differences, identity, settings_digest
from fran.tracking.runs import RunRecord, in_training, read_record, records, training_lock, write_record

HOLD = (
    "import sys, time; from fran.tracking.runs import training_lock\n"
    "with training_lock(sys.argv[1]):\n    print('held', flush=True); time.sleep(60)"
)


def test_a_record_comes_back_and_tells_an_end_from_an_interruption(make_record: Callable[..., RunRecord]) -> None:
    record = make_record(3)
    assert read_record(record.folder) == record
    assert not record.finished
    done = record.ended({"best_dice": 0.5, "stopped_by": "max_time"})
    write_record(done)
    assert read_record(record.folder) == done
    assert done.finished
    assert not record.ended({"stopped_by": "signal"}).finished
    write_record(record.ended({"best_dice": float("nan"), "stopped_by": "max_epochs"}))
    assert read_record(record.folder).result["best_dice"] is None


def test_what_made_a_run_comes_back_and_records_of_an_earlier_fran_do_without(
    make_record: Callable[..., RunRecord],
) -> None:
    made_with = {"versions": {"torch": "2.8.0"}, "git_commit": None, "device": "cpu", "precision": "32-true"}
    record = make_record(0, made_with=made_with)
    assert read_record(record.folder) == record
    file = record.folder / "run.json"
    earlier = {key: value for key, value in json.loads(file.read_text()).items() if key != "made_with"}
    file.write_text(json.dumps(earlier))
    assert read_record(record.folder).made_with == {}


def test_a_damaged_record_is_said_and_does_not_hide_the_others(
    make_record: Callable[..., RunRecord], caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = make_record(0), make_record(1)
    (broken.folder / "run.json").write_text('{"plan": "plan1"}')
    assert [r.name for r in records(whole.folder.parent)] == [whole.name]
    assert "plan1-dynunet-f1-1/run.json: expected project, model" in caplog.text


def test_one_process_trains_a_run_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert in_training(tmp_path)
        with pytest.raises(StoreError, match="is being trained by another process"), training_lock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    assert not in_training(tmp_path)
    with training_lock(tmp_path):
        assert in_training(tmp_path)


def test_what_only_changes_the_place_or_the_speed_is_no_part_of_the_identity() -> None:
    config = {"fold": 0, "spacing": [1, 1, 2], "remapping_train": {1: 2, 10: 1}, "trainer": {"seed": 0, "threads": 1}}
    elsewhere = {**config, "fold": 4, "paths": {"cold": "/c"}, "tracking": {"uri": "offline"}, "run": "mine"}
    elsewhere["trainer"] = {"seed": 0, "threads": 8, "num_workers": 3}
    assert identity(config) == identity(elsewhere)
    assert settings_digest(identity(config)) == settings_digest(identity(elsewhere))
    other = {**config, "remapping_train": {1: 2, 10: 3}}
    assert settings_digest(identity(other)) != settings_digest(identity(config))
    assert differences(identity(config), identity(other)) == ["remapping_train.10: 1 -> 3"]
