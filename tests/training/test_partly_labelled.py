"""Joining a source that draws only some of the labels: what it does not draw is neither taught nor judged there."""

from __future__ import annotations

import csv
import dataclasses
import math

import pytest
import torch
from torch import nn

from fran.data.datamodule import DataSpec
from fran.errors import CasesFailed
from fran.io.manifest import Manifest
from fran.training.fit import fit
from fran.training.settings import LossSettings

from .conftest import phantoms

FULL, HALF = ("full0", "full1"), tuple(f"half{n}" for n in range(5, 11))
HELD_OUT = ("full2", "full3")
UNANNOTATED = {"half": (7,)}


def small_network():
    """The phantoms' structures differ in intensity, so single voxels suffice; it trains in seconds."""
    torch.manual_seed(1)
    hidden = [nn.Conv3d(1, 16, 1), nn.LeakyReLU(), nn.Conv3d(16, 8, 1), nn.LeakyReLU()]
    return nn.Sequential(*hidden, nn.Conv3d(8, 3, 1))


@pytest.fixture
def train(make_spec, two_sources):
    """Function: run name, training and validation cases, unannotated labels to the result of a small training."""

    def run(name, train_ids, val_ids, unannotated, **settings):
        spec = make_spec(name=name, **settings)
        ready = {"labels": spec.data.labels, "properties": spec.data.properties, "unannotated": unannotated}
        data = DataSpec(two_sources.folder, train_ids, val_ids, **ready)
        return fit(dataclasses.replace(spec, data=data), small_network())

    return run


def test_joining_a_partly_labelled_source_does_not_lower_the_label_it_lacks(train):
    """Two complete cases, then six that show the lesion undrawn. Measured with seeds 1 to 3: > 0.998, > 0.998, < 0.02.

    Mostly cross-entropy, in which the majority decides what a voxel is; Dice alone resists the wrong teaching for long.
    """
    loss, optimiser = LossSettings(dice_weight=0.1), {"lr": 2e-2}
    how = {"max_epochs": 1, "steps_per_epoch": 150, "batch_size": 4, "fg_fraction": 0.8, "seed": 1, "loss": loss}
    alone, joined, as_background = (
        train(name, cases, HELD_OUT, unannotated, **how, **optimiser).metrics
        for name, cases, unannotated in [
            ("alone", FULL, {}),
            ("joined", FULL + HALF, UNANNOTATED),
            ("as_background", FULL + HALF, {}),
        ]
    )
    assert alone["val/dice_lesion"] > 0.95
    assert joined["val/dice_lesion"] > alone["val/dice_lesion"] - 0.02
    assert as_background["val/dice_lesion"] < alone["val/dice_lesion"] - 0.2
    assert min(m["val/dice_organ"] for m in (alone, joined, as_background)) > 0.95


def test_validation_leaves_out_what_a_case_does_not_annotate(train, tmp_path):
    result = train("run", FULL, ("full2", "half5", "half6"), UNANNOTATED, max_epochs=1, steps_per_epoch=25)
    assert math.isnan(result.case_dice["half5"]["lesion"])
    assert result.case_dice["half5"]["organ"] > 0
    assert result.metrics["val/dice_lesion"] == pytest.approx(result.case_dice["full2"]["lesion"])
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["val/n_organ"], row["val/n_lesion"]) == ("3", "1")


def test_cases_without_any_label_are_trained_and_validated(make_spec, tmp_path):
    """Empty label maps are kept: they teach background, and have a Dice only where something is predicted."""
    folder = tmp_path / "empty"
    folder.mkdir()
    made = Manifest(folder, "source", {}, "stagekey")
    for number, drawn in enumerate([(3, 7), (), ()]):
        made.cases[f"c{number}"] = phantoms.make_case(folder, f"c{number}", number, drawn=drawn)
    made.save()
    spec = make_spec(max_epochs=1, fg_fraction=1.0, early_stopping_epochs=1)
    data = dataclasses.replace(spec.data, manifest=folder, train_ids=("c0", "c1"), val_ids=("c2",))
    result = fit(dataclasses.replace(spec, data=data), Background())
    assert all(math.isnan(dice) for dice in result.case_dice["c2"].values())
    assert math.isnan(result.best_dice)
    assert result.metrics["val/n_organ"] == 0
    assert result.best is None


class Background(nn.Module):
    """Always certain of background."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return torch.cat([100 + self.scale * image, image * 0, image * 0], dim=1)


def test_without_a_case_that_annotates_it_a_label_has_no_mean(train):
    result = train("run", FULL, ("half5", "half6"), UNANNOTATED, max_epochs=1)
    assert math.isnan(result.metrics["val/dice_lesion"])
    assert result.metrics["val/n_lesion"] == 0
    assert result.best_dice == pytest.approx(result.metrics["val/dice_organ"])


def test_a_drawn_label_said_to_be_unannotated_ends_before_training(train, tmp_path):
    with pytest.raises(CasesFailed, match=r"(?s)full0.*full does not annotate.*lesion"):
        train("run", FULL, HELD_OUT, {"full": (7,)})
    assert not list((tmp_path / "run").iterdir())
