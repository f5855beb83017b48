"""Pictures of the cases with the lowest Dice follow the best validation and its table."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from fran.io.case_table import read_cases
from fran.reporting.overlay import overlay_png
from fran.tracking.worst_cases import WorstCases
from fran.training.fit import fit

NAMES = {0: "background", 1: "organ", 2: "lesion"}


def mean_dice(run_folder):
    found = {}
    for row in read_cases(run_folder / "cases.csv"):
        found.setdefault(row.case, []).append(row.dice)
    return {case: np.nanmean(values) for case, values in found.items() if np.isfinite(values).any()}


def pictured(run_folder):
    """Case ids of the pictures in the order of their ranks, and their epochs."""
    parts = [p.stem.split("_") for p in sorted((run_folder / "overlays").glob("worst_*.png"))]
    return ["_".join(p[2:-2]) for p in parts], {int(p[-1]) for p in parts}


@pytest.mark.parametrize("count", [2, 50])
def test_the_worst_of_the_best_validation(make_spec, count):
    spec = make_spec(max_epochs=4, lr=3e-2)
    result = fit(spec, callbacks=[WorstCases(spec.run_folder, overlay_png, NAMES, count)])
    dice = mean_dice(spec.run_folder)
    cases, epochs = pictured(spec.run_folder)
    assert cases == sorted(dice, key=lambda case: (dice[case], case))[:count]
    assert epochs == {result.best_epoch}


def test_arrays_are_those_of_the_case(make_spec):
    seen = {}

    def draw(image, pred, ref, names, spacing_mm, path, *, case_id, at_errors):
        seen[case_id] = image, pred, ref, spacing_mm

    spec = make_spec(max_epochs=1)
    fit(spec, callbacks=[WorstCases(spec.run_folder, draw, NAMES, 1)])
    dice = mean_dice(spec.run_folder)
    ((case_id, (image, pred, ref, spacing_mm)),) = seen.items()
    assert case_id == min(dice, key=lambda case: (dice[case], case))
    assert image.shape == pred.shape == ref.shape
    assert tuple(spacing_mm) == pytest.approx(spec.spacing_mm)
    drawn = {row.label: row for row in read_cases(spec.run_folder / "cases.csv") if row.case == case_id}
    voxel_mm3 = np.prod(spacing_mm)
    for value, row in enumerate(drawn.values(), 1):
        assert (ref == value).sum() * voxel_mm3 == pytest.approx(row.ref_mm3, rel=1e-5)
        assert (pred == value).sum() * voxel_mm3 == pytest.approx(row.pred_mm3, rel=1e-5)


def test_none_are_drawn_where_none_are_wanted(make_spec):
    spec = make_spec(max_epochs=1)
    fit(spec, callbacks=[WorstCases(spec.run_folder, overlay_png, NAMES, 0)])
    assert not list(spec.run_folder.glob("overlays/*"))


def test_a_picture_that_fails_does_not_end_the_training(make_spec, caplog):
    def draw(*args, **kwargs):
        raise OSError("no space left on device")

    spec = make_spec(max_epochs=1)
    with caplog.at_level(logging.WARNING):
        assert fit(spec, callbacks=[WorstCases(spec.run_folder, draw, NAMES)]).epochs == 1
    assert "was not made: no space left" in caplog.text
