from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fran.errors import ConfigError, StoreError
from fran.io.checkpoint import read_checkpoint
from fran.training.fit import fit
from fran.training.resume import find_resume

CHILD = Path(__file__).with_name("child.py")
EPOCHS, STEPS = 6, 4


def start(manifest, *jobs):
    command = [sys.executable, str(CHILD), str(manifest.folder), str(EPOCHS), *map(str, jobs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHILD.parents[2])}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def finish(process):
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return out.split()


def rows(run):
    with (run / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_killed_training_goes_on_to_the_same_weights(manifest, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    victim = start(manifest, "slow", broken)
    deadline = time.monotonic() + 60
    while not (broken / "metrics.csv").exists() or len(rows(broken)) < 2:
        assert victim.poll() is None, victim.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()

    after_kill = read_checkpoint(broken / "last.ckpt")
    steps_done = after_kill["global_step"]
    assert 2 * STEPS <= steps_done < EPOCHS * STEPS
    assert finish(start(manifest, "resume", broken, "fast", whole)) == 2 * [str(EPOCHS), str(EPOCHS * STEPS)]

    expected, found = (read_checkpoint(run / "last.ckpt") for run in (whole, broken))
    assert found["global_step"] == expected["global_step"] == EPOCHS * STEPS
    for name, weight in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], weight), name
        assert not torch.equal(after_kill["state_dict"][name], weight), name
    assert found["fran_state"]["elapsed_s"] > after_kill["fran_state"]["elapsed_s"]

    same = ("epoch", "step", "train/loss", "train/lr", "val/dice")
    assert [[r[k] for k in same] for r in rows(broken)] == [[r[k] for k in same] for r in rows(whole)]
    assert [bool(r["val/dice"]) for r in rows(broken)] == [False, True] * (EPOCHS // 2)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGUSR1))]
)
def test_a_signal_to_the_whole_group_ends_the_training_after_its_step(manifest, tmp_path, number):
    """As a scheduler, or Ctrl-C at a terminal, sends it: to the loader processes too."""
    run = tmp_path / "run"
    run.mkdir()
    process = start(manifest, "slow", run)
    deadline = time.monotonic() + 60
    while not (run / "metrics.csv").exists() or not rows(run):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, err
    assert err.startswith("stopped by ")
    assert err.count("\n") == 1, "one message, no traceback, nothing of the loader processes"
    assert str(run / "last.ckpt") in err
    assert STEPS <= read_checkpoint(run / "last.ckpt")["global_step"] < EPOCHS * STEPS


def test_finished_training_is_not_trained_further(make_spec):
    spec = make_spec()
    fit(spec)
    before = read_checkpoint(spec.run_folder / "last.ckpt")["state_dict"]
    result = fit(spec, resume=spec.run_folder)
    assert (result.epochs, result.steps) == (2, 6)
    after = read_checkpoint(spec.run_folder / "last.ckpt")["state_dict"]
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_more_epochs_continue_where_it_ended(make_spec):
    fit(make_spec())
    spec = make_spec(max_epochs=3, val_every_n_epochs=2)
    assert fit(spec, resume=spec.run_folder / "last.ckpt").steps == 9
    found = rows(spec.run_folder)
    assert [r["epoch"] for r in found] == ["1", "2", "3"]
    assert found[2]["val/dice"], "the last epoch is validated whatever the interval"
    assert float(found[2]["train/patches_per_s"]) > 0


def test_used_time_counts_after_a_resume(make_spec):
    spec = make_spec()
    first = fit(spec)
    resumed = make_spec(max_epochs=50, max_time=str(first.elapsed_s + 0.5))
    result = fit(resumed, resume=spec.run_folder)
    assert result.stopped_by == "max_time"
    assert result.elapsed_s > first.elapsed_s


def test_unreadable_last_falls_back_to_best_with_words(make_spec, caplog):
    spec = make_spec()
    fit(spec)
    last = spec.run_folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert find_resume(spec.run_folder) == spec.run_folder / "best.ckpt"
    assert "resuming from" in caplog.text
    (spec.run_folder / "best.ckpt").unlink()
    with pytest.raises(StoreError, match="no readable checkpoint"):
        fit(spec, resume=spec.run_folder)


def test_cases_that_trained_the_run_must_not_validate_it(make_spec, caplog):
    spec = make_spec()
    fit(spec)
    ids = sorted(spec.data.train_ids + spec.data.val_ids)
    swapped = dataclasses.replace(spec.data, train_ids=tuple(ids[2:]), val_ids=tuple(ids[:2]))
    with pytest.raises(ConfigError, match=r"found 2 it was trained on: case0, case1\. .*own fold \(0\)"):
        fit(dataclasses.replace(make_spec(max_epochs=3), data=swapped), resume=spec.run_folder)
    fewer = dataclasses.replace(spec.data, train_ids=tuple(ids[:2]))
    assert fit(dataclasses.replace(make_spec(max_epochs=3), data=fewer), resume=spec.run_folder).epochs == 3
    assert "train: 0 cases are new, 1 are gone" in caplog.text


def test_metrics_of_a_resumed_run_stand_under_their_columns(make_spec):
    """A run begun with other columns, as by an older version, or with another label first."""
    spec = make_spec()
    fit(spec)
    path = spec.run_folder / "metrics.csv"
    old = rows(spec.run_folder)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["epoch", "step", "elapsed_s", "gone", "val/dice", "train/loss"], restval="7")
        writer.writeheader()
        writer.writerows({k: r[k] for k in ("epoch", "step", "elapsed_s", "val/dice", "train/loss")} for r in old)
    fit(dataclasses.replace(make_spec(max_epochs=3), vip_label=7), resume=spec.run_folder)
    found = rows(spec.run_folder)
    assert [r["epoch"] for r in found] == ["1", "2", "3"]
    assert [r["train/loss"] for r in found[:2]] == [r["train/loss"] for r in old]
    assert found[0]["val/dice_lesion"] == ""
    assert float(found[2]["val/dice_lesion"]) >= 0
    assert list(found[0]).index("val/dice_lesion") < list(found[0]).index("val/dice_organ")


def test_another_optimiser_is_refused_and_its_settings_may_change(make_spec):
    fit(make_spec())
    other = make_spec()
    other.trainer.optimiser.name = "sgd"
    with pytest.raises(ConfigError, match="optimiser: expected adamw, found sgd"):
        fit(other, resume=other.run_folder)
    changed = make_spec(max_epochs=3)
    changed.trainer.optimiser.weight_decay = 0.0
    fit(changed, resume=changed.run_folder)
    groups = read_checkpoint(changed.run_folder / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0]


def test_another_network_is_refused(make_spec):
    spec = make_spec()
    fit(spec)
    other = make_spec({"_target_": "torch.nn.Conv3d", "kernel_size": 5, "padding": 2})
    with pytest.raises(ConfigError, match="network: expected"):
        fit(other, resume=spec.run_folder)
