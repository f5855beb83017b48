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
from fran.training.fit import fit

FULL, HALF = ("full0",), tuple(f"half{n}" for n in range(5, 11))
HELD_OUT = ("full1", "full2", "full3", "full4")
UNANNOTATED = {"half": (7,)}


def small_network():
    """Intensity and a little surrounding suffice for the phantoms, and seconds for training."""
    torch.manual_seed(1)
    layers = [nn.Conv3d(1, 8, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Conv3d(8, 3, 1))


@pytest.fixture
def train(make_spec, two_sources):
    """Function: run name, training and validation cases, unannotated labels to the result of a small training."""

    def run(name, train_ids, val_ids, unannotated=None, case_weights=None, **trainer):
        spec = make_spec(name=name, **trainer)
        more = {"unannotated": unannotated or {}, "case_weights": case_weights or {}}
        data = DataSpec(two_sources.folder, train_ids, val_ids, spec.data.labels, spec.data.properties, **more)
        return fit(dataclasses.replace(spec, data=data), small_network())

    return run


def test_joining_a_partly_labelled_source_does_not_lower_the_label_it_lacks(train):
    """One complete case; then 24 crops without the lesion drawn for each of its own. Measured: 0.956, 0.967, 0.535."""
    how = {"max_epochs": 3, "steps_per_epoch": 50, "val_every_n_epochs": 3, "seed": 1}
    often = dict.fromkeys(HALF, 4.0)
    alone = train("alone", FULL, HELD_OUT, **how).metrics
    joined = train("joined", FULL + HALF, HELD_OUT, UNANNOTATED, often, **how).metrics
    as_background = train("as_background", FULL + HALF, HELD_OUT, None, often, **how).metrics
    assert alone["val/dice_lesion"] > 0.9
    assert joined["val/dice_lesion"] > alone["val/dice_lesion"] - 0.02
    assert as_background["val/dice_lesion"] < alone["val/dice_lesion"] - 0.2
    assert min(m["val/dice_organ"] for m in (alone, joined, as_background)) > 0.95


def test_validation_leaves_out_what_a_case_does_not_annotate(train, tmp_path):
    result = train("run", FULL, ("full1", "half5", "half6"), UNANNOTATED, max_epochs=1, steps_per_epoch=25)
    assert math.isnan(result.case_dice["half5"]["lesion"])
    assert result.case_dice["half5"]["organ"] > 0
    assert result.metrics["val/dice_lesion"] == pytest.approx(result.case_dice["full1"]["lesion"])
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["val/n_organ"], row["val/n_lesion"]) == ("3", "1")


def test_without_a_case_that_annotates_it_a_label_has_no_mean(train):
    result = train("run", FULL, ("half5", "half6"), UNANNOTATED, max_epochs=1)
    assert math.isnan(result.metrics["val/dice_lesion"])
    assert result.metrics["val/n_lesion"] == 0
    assert result.best_dice == pytest.approx(result.metrics["val/dice_organ"])


def test_a_drawn_label_said_to_be_unannotated_ends_before_training(train, tmp_path):
    with pytest.raises(CasesFailed, match=r"(?s)full0.*full does not annotate.*lesion"):
        train("run", FULL, HELD_OUT, {"full": (7,)})
    assert not list((tmp_path / "run").iterdir())
