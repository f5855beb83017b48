from __future__ import annotations

import csv
import json
import logging
import math
import re
import time
from dataclasses import replace

import pytest
import torch

from fran.data.crops import CropDataset
from fran.errors import FranError
from fran.training import alarm_rules as rules
from fran.training import alarms, module
from fran.training.alarm_rules import Done, LabelHistory
from fran.training.convolution import convolution_seconds
from fran.training.fit import fit
from tests.training.conftest import small_spec

# a validation each 100 steps: half of 2000 steps are done
NEVER = LabelHistory((0.0,) * 10, (0.0,) * 10, 5000.0, 6.75, 400)
HALF = Done(0.5, 1000, 100)
VANISHED = replace(NEVER, dice=(0.0, 0.5, 0.4, 0.0, 0.0, 0.0), predicted_mm3=(0, 9, 9, 0, 0, 0))
END = Done(1.0, 500, 250, at_end=True)


@pytest.mark.parametrize(
    ("past", "done", "words"),
    [
        (NEVER, HALF, "never predicted: Dice 0 in the last 10.*about 400 crops.*class_sampling_weights={lesion: 3}"),
        (replace(NEVER, predicted_mm3=(0, 0, 0, 0, 9, 9)), HALF, "wrong places"),
        (replace(NEVER, ref_mm3=100.0), HALF, "about 15 voxels.*finer spacing"),
        (replace(NEVER, crops=20.4), HALF, "too few crops: about 20"),
        (replace(NEVER, dice=(math.nan, 0.0, 0.0, 0.0)), HALF, "the last 3 validations"),
        (VANISHED, Done(0.15, 600, 100), "Dice 0.40 and more, then lost: Dice 0 in the last 3.*learning rate"),
        (replace(NEVER, dice=(0.0, 0.0), predicted_mm3=(0.0, 0.0)), END, "last 2 validations.*short, 500 steps"),
        (NEVER, Done(0.4, 2000, 100), None),  # it may still come
        (NEVER, Done(0.9, 900, 100), None),  # of a training of 1000 steps too: the end is near enough
        (replace(VANISHED, dice=VANISHED.dice[:-1]), Done(0.15, 500, 100), None),  # it may come back
        (VANISHED, Done(0.15, 60, 10), None),  # three validations, but 20 steps
        (replace(VANISHED, dice=(0.6, 0.0, 0.0, 0.0, 0.0)), Done(0.15, 500, 100), None),  # untrained, it was everywhere
        (replace(NEVER, ref_mm3=0.0), HALF, None),  # no case has it
        (replace(NEVER, dice=(*NEVER.dice, 0.02)), HALF, None),
        (replace(NEVER, dice=(0.0, 0.0)), HALF, None),
        (replace(NEVER, dice=(math.nan,) * 6), HALF, None),
        (replace(NEVER, dice=(0.0,), predicted_mm3=(0.0,)), END, None),
        (NEVER, replace(END, steps=50), None),
    ],
)
def test_collapsed_class(past, done, words):
    found = rules.collapsed_class("lesion", past, done)
    assert (found is None) == (words is None)
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


def test_the_cause_of_starvation_follows_from_how_crops_are_made():
    def said(workers, cache, **kind):
        return str(rules.data_starvation([0.1, 0.5, 0.6], 60, workers, cache, **kind))

    assert re.search(
        "from the files, with 1 loader process,.*cache=ram.*num_workers=2.*samples_per_file", said(1, "none")
    )
    assert re.search("cutting crops, with no loader process,.*num_workers=2", said(0, "ram"))
    assert "cache" not in said(2, "ram")
    assert re.search("device is slower.*cache=ram", said(0, "device"))
    assert re.search("TorchIO.*with 3 loader processes.*smaller prob.*num_workers=6", said(3, "ram", transforms=True))


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
    seconds = convolution_seconds(torch.device("cpu"), "32-true", channels_last=True)
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


@pytest.fixture
def early(monkeypatch):
    """The rules for trainings of a few steps."""
    for name, value in {"LOST_STEPS": 2, "LATE_STEPS": 4}.items():
        monkeypatch.setattr(rules, name, value)


def metrics_of(run):
    with (run / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def alarms_of(run):
    path = run / "alarms.json"
    return [(row["name"], row["subject"]) for row in json.loads(path.read_text())] if path.exists() else []


def test_a_class_that_is_never_predicted_is_said_once_and_not_again_after_a_resume(make_spec, caplog, early):
    spec = make_spec(max_epochs=5, steps_per_epoch=1, lr=1e-6)
    with caplog.at_level(logging.WARNING):
        fit(spec, Shy())
        longer = replace(spec, trainer=replace(spec.trainer, max_epochs=6))
        fit(longer, Shy(), resume=spec.run_folder)
    assert alarms_of(spec.run_folder) == [("collapsed class", "lesion")]
    (row,) = json.loads((spec.run_folder / "alarms.json").read_text())
    assert "never predicted" in row["seen"]
    assert row["epoch"] == 4, "the first with half of the training, and four steps, done"
    # half of eight crops are on foreground, half of these on the lesion, which each case has
    assert "about 2 were placed on it" in row["cause"]
    assert sum("collapsed class (lesion)" in record.getMessage() for record in caplog.records) == 1


class Turning(Shy):
    """Tells the lesion by its intensity, but only after the given training steps."""

    def __init__(self, finds):
        super().__init__()
        self.finds, self.steps = finds, 0

    def forward(self, image):
        self.steps += self.training
        logits = super().forward(image)
        seen = 20.0 * (image > 1) if self.steps in self.finds else 0 * image
        return logits + seen * torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1, 1)


@pytest.mark.parametrize(
    ("finds", "expected"),
    [
        (range(4, 99), []),  # it comes late, as small structures do
        (range(2, 4), [("collapsed class", "lesion")]),  # it was there and is lost
        ((), [("collapsed class", "lesion")]),
    ],
)
def test_a_class_that_comes_late_is_not_talked_about(make_spec, early, finds, expected):
    spec = make_spec(max_epochs=8, steps_per_epoch=1, lr=1e-6)
    fit(spec, Turning(finds))
    assert alarms_of(spec.run_folder) == expected


@pytest.mark.slow
def test_a_lesion_that_a_real_network_finds_late_is_not_talked_about(make_spec, early):
    spec = make_spec(
        {"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 16},
        max_epochs=40,
        steps_per_epoch=4,
        lr=3e-3,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "LATE_STEPS", 80)
        fit(spec)
    dice = [float(row["val/dice_lesion"]) for row in metrics_of(spec.run_folder)]
    assert min(dice[:8]) < 0.01, "nothing is proved where the lesion is found at once"
    assert dice[-1] > 0.3
    assert alarms_of(spec.run_folder) == []


class Clock:
    """Seconds that pass only where the test says so."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("sample_s", "share"), [(3.0, 0.75), (0.1, 0.1 / 1.1)])
def test_waiting_for_data_is_logged_and_said(make_spec, monkeypatch, sample_s, share):
    """Two crops that take `sample_s` each before a step of two seconds."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    read = CropDataset.__getitem__

    def slow(dataset, index):
        clock.now += sample_s
        return read(dataset, index)

    class Step(Shy):
        def forward(self, image):
            clock.now += 2.0
            return super().forward(image)

    monkeypatch.setattr(CropDataset, "__getitem__", slow)
    spec = make_spec(max_epochs=3, num_workers=0, lr=1e-6)
    fit(spec, Step())
    logged = metrics_of(spec.run_folder)
    assert [float(row["train/data_wait_share"]) for row in logged] == pytest.approx([share] * 3, abs=1e-5)
    assert [float(row["train/patches_per_s"]) for row in logged] == pytest.approx(
        [2 / (2 * sample_s + 2)] * 3, rel=1e-4
    )
    if share < rules.WAIT_SHARE:
        assert not alarms_of(spec.run_folder)
        return
    (row,) = json.loads((spec.run_folder / "alarms.json").read_text())
    assert (row["name"], row["epoch"]) == ("data starvation", 3)
    assert row["seen"].startswith("75 % of the last 2 epochs")
    assert "reading crops from the files, with no loader process" in row["cause"]


@pytest.mark.slow
@pytest.mark.parametrize("slow_s", [0.0, 0.4])
def test_slow_loader_processes_are_noticed(make_spec, monkeypatch, slow_s):
    read = CropDataset.__getitem__

    def slow(dataset, index):
        time.sleep(slow_s)
        return read(dataset, index)

    class Step(Shy):
        def forward(self, image):
            time.sleep(0.0 if slow_s else 0.4)
            return super().forward(image)

    monkeypatch.setattr(CropDataset, "__getitem__", slow)
    monkeypatch.setattr(rules, "WAIT_SECONDS", 0.5)
    spec = make_spec(max_epochs=3, steps_per_epoch=4, num_workers=2, cache="ram", lr=1e-6, val_every_n_epochs=0)
    fit(spec, Step())
    assert alarms_of(spec.run_folder) == ([("data starvation", "")] if slow_s else [])
    if slow_s:
        (row,) = json.loads((spec.run_folder / "alarms.json").read_text())
        assert "cutting crops, with 2 loader processes" in row["cause"]


def test_a_label_that_nobody_drew_is_said_at_the_start(make_spec):
    spec = make_spec(max_epochs=1, steps_per_epoch=1)
    from fran.labels import LabelScheme

    labels = LabelScheme((3, 7, 9), {3: "organ", 7: "lesion", 9: "ghost"})
    fit(replace(spec, data=replace(spec.data, labels=labels)))
    assert alarms_of(spec.run_folder) == [("absent class", "ghost")]


@pytest.mark.parametrize("val_ids", [("full3", "full4"), ("half5", "half6"), ()])
def test_a_label_without_a_case_to_judge_it_is_said_at_the_start(two_sources, tmp_path, val_ids):
    spec = small_spec(two_sources, tmp_path, max_epochs=1, steps_per_epoch=1)
    fit(replace(spec, data=replace(spec.data, train_ids=("full0", "half7"), val_ids=val_ids)))
    expected = [("absent class", "lesion")] if "half5" in val_ids else []
    assert alarms_of(spec.run_folder) == expected


@pytest.mark.parametrize(
    ("thresholds", "settings", "expected"),
    [
        ({"SLOW_FACTOR": 0.0}, {"channels_last": True}, ("slow convolution", "channels_last")),
        ({"FLAT_EPOCHS": 2, "FLAT_STEPS": 1, "FLAT_SHARE": 1.0}, {}, ("loss does not fall", "")),
        (
            {"OVERFIT_DROP": 0.0, "OVERFIT_VALIDATIONS": 1, "OVERFIT_BEST": 0.0, "FLAT_SHARE": 9.0},
            {"val_every_n_epochs": 1},
            ("overfitting", ""),
        ),
        ({"DISK_CHECKPOINTS": 10**12}, {}, ("disk nearly full", "")),
        ({}, {}, ("slow convolution", "oneDNN")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_each_rule_is_asked_in_a_training(make_spec, monkeypatch, thresholds, settings, expected):
    """Under thresholds that any training crosses, or without the library."""
    for name, value in thresholds.items():
        monkeypatch.setattr(rules, name, value)
    if not thresholds:
        monkeypatch.setattr(alarms, "has_onednn", lambda: False)
    spec = make_spec(**{"max_epochs": 3, "steps_per_epoch": 1, "val_every_n_epochs": 0, "lr": 1e-6, **settings})
    fit(spec, Shy())
    assert alarms_of(spec.run_folder) == [expected]


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
