from __future__ import annotations

import csv
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
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


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
    assert [r["epoch"] for r in found] == ["0", "1", "2"]
    assert found[2]["val/dice"], "the last epoch is validated whatever the interval"
    assert float(found[2]["train/patches_per_s"]) > 0


def test_used_time_counts_after_a_resume(make_spec):
    spec = make_spec()
    first = fit(spec)
    resumed = make_spec(max_epochs=50, max_time=str(first.elapsed_s + 0.5))
    result = fit(resumed, resume=spec.run_folder)
    assert result.stopped_by == "max_time"
    assert first.elapsed_s + 0.5 <= result.elapsed_s < first.elapsed_s + 5


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


def test_another_network_is_refused(make_spec):
    spec = make_spec()
    fit(spec)
    other = make_spec({"_target_": "torch.nn.Conv3d", "kernel_size": 5, "padding": 2})
    with pytest.raises(ConfigError, match="network: expected"):
        fit(other, resume=spec.run_folder)
