"""Two processes on a CPU, joined by gloo, beside one."""

from __future__ import annotations

import csv
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from fran.errors import ConfigError, FranError
from fran.io.case_table import read_cases
from fran.io.checkpoint import read_checkpoint
from fran.reporting.overlay import overlay_png
from fran.tracking.worst_cases import WorstCases
from fran.training.fit import fit
from fran.training.interrupt import TrainingInterrupted
from fran.training.launcher import Place, launched, place
from fran.training.ranks import n_devices, n_nodes
from fran.training.settings import AugmentationSettings, LossSettings

COLUMNS = ("epoch", "step", "train/loss", "train/lr", "val/dice", "val/dice_organ", "val/n_organ", "val/n_lesion")


def rows(run):
    with (run / "metrics.csv").open() as stream:
        return [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(stream)]


class Seen(Callback):
    def __init__(self, at_step=None, do=None):
        self.validated, self.at_step, self.do = [], at_step, do

    def on_validation_batch_end(self, trainer, module, outputs, *_):
        self.validated.append(outputs["case_id"])

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.at_step:
            self.do()


def children():
    me = os.getpid()
    listed = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return [int(pid) for pid in listed if b"fran.training.rank" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def two(make_spec, name="two", **settings):
    # Dice's sums over the batch, which processes have apart, are left out of the comparison
    plain = {"batch_size": 1, "devices": 2, "strategy": "ddp", "num_workers": 0, "threads": 1, "ema_decay": 0.9}
    loss = LossSettings(batch_dice=False)
    return make_spec(name=name, augmentation=AugmentationSettings(), loss=loss, **{**plain, **settings})


def test_two_processes_train_and_log_what_one_does(make_spec):
    spec, alone = two(make_spec), two(make_spec, "one", batch_size=2, devices=1, strategy="auto")
    seen = Seen()
    result = fit(spec, callbacks=[seen])
    assert not children()
    assert not launched()
    fit(alone)
    np.testing.assert_allclose(rows(spec.run_folder), rows(alone.run_folder), rtol=1e-3)
    assert seen.validated == [spec.data.val_ids[0]] * 2, "the other case is the other process's"
    assert set(result.case_dice) == set(spec.data.val_ids)
    found, expected = (read_checkpoint(run.run_folder / "last.ckpt") for run in (spec, alone))
    for section in ("state_dict", "fran_ema"):
        for name, value in expected[section].items():
            torch.testing.assert_close(found[section][name], value, rtol=1e-3, atol=1e-5)
    assert {"best.ckpt", "last.ckpt", "metrics.csv"} <= {p.name for p in spec.run_folder.iterdir()}


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_the_training_goes_on_exactly(make_spec):
    whole, broken = two(make_spec, "whole"), two(make_spec, "broken")
    fit(whole)
    stop = Seen(at_step=1, do=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingInterrupted, match="at step 2, epoch 1 of 2"):
        fit(broken, callbacks=[stop])
    assert not children()
    fit(broken, resume=broken.run_folder)
    found, expected = (read_checkpoint(run.run_folder / "last.ckpt") for run in (broken, whole))
    assert all(torch.equal(found["state_dict"][k], v) for k, v in expected["state_dict"].items())
    assert rows(broken.run_folder) == rows(whole.run_folder)


def test_a_killed_process_ends_the_run_with_words(make_spec):
    begun = time.monotonic()
    kill = Seen(at_step=1, do=lambda: [os.kill(pid, signal.SIGKILL) for pid in children()])
    with pytest.raises(FranError, match=r"process 1 of 2 \(pid \d+\) was ended by SIGKILL \(which the kernel"):
        fit(two(make_spec), callbacks=[kill])
    assert time.monotonic() - begun < 60
    assert not children()


TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "6", "SLURM_JOB_NAME": "train"}


def test_other_launchers_are_recognised():
    assert place(TORCHRUN) == Place("torchrun", 5, 8, 4)
    assert place(SLURM) == Place("SLURM", 6, 8, 4)
    assert place(SLURM).machines == n_nodes(SLURM) == 2
    assert launched(TORCHRUN)
    assert launched(SLURM)
    for alone in ({}, {**SLURM, "SLURM_JOB_NAME": "bash"}, {**SLURM, "SLURM_NTASKS": "1"}):
        assert place(alone) is None
        assert not launched(alone)
        assert n_nodes(alone) == 1
    assert place({**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}) is None
    assert place({"LOCAL_RANK": "1"}) is None, "a process that fran started"
    with pytest.raises(ConfigError, match="--ntasks-per-node"):
        place({name: value for name, value in SLURM.items() if name != "SLURM_NTASKS_PER_NODE"})


def test_the_launcher_decides_how_many_devices():
    assert n_devices(3, "cpu", {}) == 3
    assert n_devices(-1, "cpu", {}) == 1
    assert [n_devices(n, "cpu", SLURM) for n in (1, -1, 4)] == [4, 4, 4]
    with pytest.raises(ConfigError, match=r"trainer\.devices: expected nothing, or 4, .*torchrun.*found 2"):
        n_devices(2, "cpu", TORCHRUN)


@pytest.mark.slow
@pytest.mark.parametrize("n_val", [1, 3])
def test_each_validation_case_is_in_the_tables_once(make_spec, n_val):
    """Also where the cases cannot be shared out evenly, or one process has none of its own."""
    spec = two(make_spec, max_epochs=2)
    ids = (*spec.data.val_ids, *spec.data.train_ids)
    spec = replace(spec, data=replace(spec.data, train_ids=ids[n_val:], val_ids=ids[:n_val]))
    names = {0: "background", 1: "organ", 2: "lesion"}
    result = fit(spec, everywhere=[WorstCases(spec.run_folder, overlay_png, names, 9)])
    expected = [(case_id, label) for case_id in sorted(ids[:n_val]) for label in ("organ", "lesion")]
    tables = sorted((spec.run_folder / "validation").iterdir())
    assert len(tables) == 2
    for table in (*tables, spec.run_folder / "cases.csv"):
        assert [(row.case, row.label) for row in read_cases(table)] == expected
    assert set(result.case_dice) == set(ids[:n_val])
    assert result.metrics["val/n_organ"] == n_val
    pictures = [path.name for path in (spec.run_folder / "overlays").iterdir()]
    assert sorted(name.split("_")[2] for name in pictures) == sorted(ids[:n_val]), "of every process"
