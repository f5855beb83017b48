from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import replace

import pytest
import torch

from fran.errors import FranError
from fran.training import alarm_rules as rules
from fran.training import alarms
from fran.training.alarm_rules import LabelHistory
from fran.training.fit import fit

NEVER = LabelHistory((0.0,) * 6, (0.0,) * 6, 5000.0, 6.75)


@pytest.mark.parametrize(
    ("past", "progress", "at_end", "words"),
    [
        (NEVER, 0.5, False, "never predicted.*class_sampling_weights={lesion: 3}"),
        (replace(NEVER, predicted_mm3=(0, 0, 0, 0, 9, 9)), 0.5, False, "wrong places"),
        (replace(NEVER, ref_mm3=100.0), 0.5, False, "about 15 voxels.*finer spacing"),
        (replace(NEVER, dice=(0.0, 0.0), predicted_mm3=(0.0, 0.0)), 1.0, True, "last 2 validations"),
        (NEVER, 0.1, False, None),  # training has just begun
        (replace(NEVER, ref_mm3=0.0), 0.5, False, None),  # no case has it
        (replace(NEVER, dice=(0, 0, 0, 0, 0, 0.01)), 0.5, False, None),
        (replace(NEVER, dice=(0.0,) * 4, predicted_mm3=(0.0,) * 4), 0.5, False, None),
        (replace(NEVER, dice=(math.nan,) * 6), 0.5, False, None),
        (replace(NEVER, dice=(0.0,), predicted_mm3=(0.0,)), 1.0, True, None),
    ],
)
def test_collapsed_class(past, progress, at_end, words):
    found = rules.collapsed_class("lesion", past, progress, 500, at_end=at_end)
    assert (found is None) == (words is None)
    assert rules.collapsed_class("lesion", past, progress, 50, at_end=at_end) is None
    if words:
        assert re.search(words, str(found))
        assert found.subject == "lesion"


@pytest.mark.parametrize(
    ("n_train", "n_val", "words"),
    [(0, 3, "no training case"), (4, 0, "no validation case"), (4, 1, None), (4, None, None), (0, None, "no training")],
)
def test_absent_class(n_train, n_val, words):
    found = rules.absent_class("spleen", n_train, n_val)
    assert (found is None) == (words is None)
    assert words is None or words in found.seen


@pytest.mark.parametrize(
    ("shares", "epoch_s", "rings"),
    [
        ([0.1, 0.5, 0.6], 60, True),
        ([0.9, 0.5], 60, False),  # the first epoch starts the loaders
        ([0.9, 0.5, 0.1, 0.5], 60, False),
        ([0.1, 0.5, 0.6], 1, False),
    ],
)
def test_data_starvation(shares, epoch_s, rings):
    found = rules.data_starvation(shares, epoch_s, 2, "none")
    assert (found is not None) == rings
    if found:
        assert "55 %" in found.seen
        assert "trainer.cache=ram" in found.remedy
        assert "trainer.num_workers=4" in found.remedy
        assert "cache" not in rules.data_starvation(shares, epoch_s, 2, "ram").remedy


def test_slow_convolution():
    seconds = {"float32": 0.01, "precision": 0.05, "contiguous": 0.01}
    assert "5.0 times" in rules.slow_convolution(seconds, "bf16-mixed", False).seen
    assert rules.slow_convolution(seconds, "32-true", True).subject == "channels_last"
    assert rules.slow_convolution(seconds, "32-true", False) is None
    quick = {"float32": 0.01, "precision": 0.015, "contiguous": 0.012}
    assert rules.slow_convolution(quick, "bf16-mixed", True) is None


def test_missing_kernels():
    assert "cuDNN" in rules.missing_kernels("gpu", onednn=True, cudnn=False).seen
    assert "oneDNN" in rules.missing_kernels("cpu", onednn=False, cudnn=True).seen
    assert rules.missing_kernels("cpu", onednn=True, cudnn=False) is None
    assert rules.missing_kernels("gpu", onednn=False, cudnn=True) is None


def test_flat_loss():
    flat = [1.5, *[1.49] * 11]
    assert "1.490 at best" in rules.flat_loss(flat, 600, 1e-3).seen
    assert rules.flat_loss(flat, 100, 1e-3) is None
    assert rules.flat_loss(flat[:9], 600, 1e-3) is None
    assert rules.flat_loss([*flat, 1.4], 600, 1e-3) is None


def test_overfitting():
    dices, losses = [0.2, 0.6, 0.7, 0.55, 0.5, 0.52, 0.5], [1.5, 1.0, 0.5, 0.4]
    assert "0.700 at its best" in rules.overfitting(dices, losses).seen
    assert rules.overfitting([*dices, 0.65], losses) is None
    assert rules.overfitting(dices, [1.5, 0.4, 1.0]) is None
    assert rules.overfitting([d / 3 for d in dices], losses) is None
    assert rules.overfitting(dices[:4], losses) is None


def test_disk_nearly_full():
    assert "10 MiB are free, a checkpoint takes 5 MiB" in rules.disk_nearly_full(10 << 20, 5 << 20).seen
    assert rules.disk_nearly_full(15 << 20, 5 << 20) is None


def test_a_convolution_is_timed_without_touching_random_numbers():
    before = torch.get_rng_state()
    seconds = alarms.convolution_seconds(torch.device("cpu"), "32-true", channels_last=True)
    assert set(seconds) == {"float32", "precision", "contiguous"}
    assert all(0 < s < 10 for s in seconds.values())
    assert torch.equal(torch.get_rng_state(), before)


class Shy(torch.nn.Module):
    """Predicts the organ everywhere and never the lesion."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor([0.0, 0.5, -9.0]))

    def forward(self, image):
        return self.bias.view(1, 3, 1, 1, 1).expand(len(image), 3, *image.shape[2:])


def test_a_class_that_is_never_predicted_is_said_once_and_not_again_after_a_resume(make_spec, caplog, monkeypatch):
    monkeypatch.setattr(rules, "COLLAPSED_STEPS", 2)
    spec = make_spec(max_epochs=3, steps_per_epoch=1, lr=1e-6)
    with caplog.at_level(logging.WARNING):
        fit(spec, Shy())
        longer = replace(spec, trainer=replace(spec.trainer, max_epochs=4))
        fit(longer, Shy(), resume=spec.run_folder)
    rows = json.loads((spec.run_folder / "alarms.json").read_text())
    assert [(row["name"], row["subject"]) for row in rows] == [("collapsed class", "lesion")]
    assert "never predicted" in rows[0]["seen"]
    assert sum("collapsed class (lesion)" in record.getMessage() for record in caplog.records) == 1


def test_a_label_that_nobody_drew_is_said_at_the_start(make_spec):
    spec = make_spec(max_epochs=1, steps_per_epoch=1)
    from fran.labels import LabelScheme

    labels = LabelScheme((3, 7, 9), {3: "organ", 7: "lesion", 9: "ghost"})
    fit(replace(spec, data=replace(spec.data, labels=labels)))
    rows = json.loads((spec.run_folder / "alarms.json").read_text())
    assert [(row["name"], row["subject"], row["epoch"]) for row in rows] == [("absent class", "ghost", 0)]


def test_an_ordinary_training_raises_none(make_spec):
    spec = make_spec({"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 16}, max_epochs=1)
    fit(spec)
    assert not (spec.run_folder / "alarms.json").exists()


def test_a_loss_that_is_not_finite_is_written_down(make_spec):
    class Nan(Shy):
        def forward(self, image):
            return super().forward(image) * float("nan")

    spec = make_spec(max_epochs=1, val_every_n_epochs=0)
    with pytest.raises(FranError, match="the loss became nan"):
        fit(spec, Nan())
    (row,) = json.loads((spec.run_folder / "alarms.json").read_text())
    assert row["name"] == "loss not finite"
    assert "learning rate is too high" in row["cause"]
