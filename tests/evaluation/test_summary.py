"""Every figure of a small table checked by hand, and real maps against independent programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from fran.evaluation.intervals import Bootstrap, bootstrap_ratios
from fran.evaluation.measures import Measures, absent, as_score, measure
from fran.evaluation.summary import summarise
from fran.metrics.lesions import Lesions

SHAPE, SPACING_MM = (12, 9, 7), (0.5, 1.0, 2.0)
VOXEL_MM3 = 1.0
HOW = Bootstrap(samples=400)


def _lm(**boxes: list[tuple[int, int]]) -> np.ndarray:
    """Lines of voxels along x, one label a row: ``a`` is label 1 in row y = 2, ``b`` label 2 in row y = 6."""
    lm = np.zeros(SHAPE, np.uint8)
    for label, name in ((1, "a"), (2, "b")):
        for first, last in boxes.get(name, []):
            lm[first : last + 1, 4 * label - 2, 3] = label
    return lm


def _scores(case_id: str, pred: np.ndarray, ref: np.ndarray, measures: Measures):
    found = measure(pred, ref, sorted(({*pred.flat} | {*ref.flat}) - {0}), SPACING_MM, measures)
    return [
        as_score(case_id, v, name, found.get(v, absent(measures)), VOXEL_MM3, measures.metrics)
        for v, name in ((1, "a"), (2, "b"))
    ]


# case, prediction, reference: all of it can be counted on the x axis, whose voxels are 0.5 mm apart
TABLE = [
    ("one", _lm(a=[(2, 3)], b=[(1, 4)]), _lm(a=[(2, 3)], b=[(1, 4), (8, 9)])),
    ("two", _lm(a=[(2, 3), (6, 6)]), _lm(a=[(2, 3)], b=[(5, 6)])),
    ("three", _lm(a=[(3, 4)], b=[(5, 5)]), _lm(a=[(2, 3)])),
    ("four", _lm(a=[(2, 4)]), _lm(a=[(2, 3)])),
]
INF, NAN = math.inf, math.nan
# Dice, NSD at 0.5 mm, HD95, ASSD, ASD, volume difference, tp, fp, fn
EXPECTED = {
    ("one", "a"): (1.0, 1.0, 0.0, 0.0, 0.0, 0, 1, 0, 0),
    # from the reference 0 0 0 0 2.0 2.5 mm: the 95th percentile lies 3/4 of the way from 2.0 to 2.5
    ("one", "b"): (0.8, 0.8, 2.375, 0.45, 0.0, -2, 1, 0, 1),
    ("two", "a"): (0.8, 0.8, 1.35, 0.3, 0.5, 1, 1, 1, 0),
    ("two", "b"): (0.0, 0.0, INF, INF, INF, -2, 0, 0, 1),
    ("three", "a"): (0.5, 1.0, 0.475, 0.25, 0.25, 0, 1, 0, 0),
    ("three", "b"): (0.0, 0.0, INF, INF, INF, 1, 0, 1, 0),
    ("four", "a"): (0.8, 1.0, 0.45, 0.1, 1 / 6, 1, 1, 0, 0),
    ("four", "b"): (NAN, NAN, NAN, NAN, NAN, 0, 0, 0, 0),
}


@pytest.fixture
def scores():
    measures = Measures(nsd_mm=type(Measures().nsd_mm)(0.5))
    return [row for case in TABLE for row in _scores(*case, measures)]


def test_the_table_by_hand(scores) -> None:
    for row in scores:
        found = row.dice, row.nsd, row.hd95_mm, row.assd_mm, row.asd_mm, row.diff_mm3, row.tp, row.fp, row.fn
        np.testing.assert_allclose(found, EXPECTED[row.case_id, row.name], atol=1e-6, err_msg=str(row))


def test_the_summary_by_hand(scores) -> None:
    a, b, both = summarise(scores, Measures(), HOW)
    dice = a.averages["dice"]
    assert (dice.n, dice.infinite, dice.mean.value, dice.median) == (4, 0, pytest.approx(0.775), pytest.approx(0.8))
    assert dice.sd == pytest.approx(np.std([1, 0.8, 0.5, 0.8], ddof=1))
    assert (b.both_empty, b.only_pred, b.only_ref) == (1, 1, 1)
    assert (b.averages["dice"].n, b.averages["dice"].mean.value) == (3, pytest.approx(0.8 / 3))
    hd95 = b.averages["hd95_mm"]
    assert (hd95.n, hd95.infinite, hd95.mean.value, hd95.median) == (1, 2, pytest.approx(2.375), math.inf)
    # a case that lacks the label says nothing about its volume
    assert (b.averages["diff_mm3"].n, b.averages["diff_mm3"].mean.value) == (3, -1)
    assert (both.name, both.label) == ("all labels", None)
    assert both.averages["dice"].mean.value == pytest.approx((0.775 + 0.8 / 3) / 2)
    assert (both.averages["dice"].n, both.averages["dice"].median) == (4, pytest.approx(0.8))
    assert "diff_mm3" not in both.averages
    n = both.lesions
    assert (n.ref_lesions, n.pred_lesions, n.tp, n.fp, n.fn) == (7, 7, 5, 2, 2)
    assert (n.precision.value, n.recall.value, n.f1.value) == (5 / 7, 5 / 7, 5 / 7)
    assert b.lesions.recall.value == 1 / 3


def test_intervals_hold_their_value(scores) -> None:
    for line in summarise(scores, Measures(), HOW):
        for average in line.averages.values():
            assert average.mean.low <= average.mean.value <= average.mean.high
        for name in ("precision", "recall", "f1"):
            share = getattr(line.lesions, name)
            assert share.low < share.value < share.high or share.low == share.high == share.value


def test_one_label_needs_no_line_for_all(scores) -> None:
    (line,) = summarise([s for s in scores if s.label == 1], Measures(("nsd",)), HOW)
    assert line.lesions is None
    assert set(line.averages) == {"dice", "nsd", "diff_mm3"}


def test_an_interval_of_shares_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    whole = rng.integers(1, 6, 30).astype(float)
    part = rng.binomial(whole.astype(int), 0.7).astype(float)
    low, high = bootstrap_ratios(part[:, None], whole[:, None], 20_000, seed=1)

    def share(p, w, axis):
        return p.sum(axis) / w.sum(axis)

    theirs = bootstrap((part, whole), share, paired=True, n_resamples=20_000, method="percentile", rng=2)
    np.testing.assert_allclose([low[0], high[0]], theirs.confidence_interval, atol=5e-3)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_is_measured_equals_monai() -> None:
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    rng = np.random.default_rng(0)
    ref = np.zeros((21, 17, 13), np.uint8)
    for label in (1, 2, 3):
        low = rng.integers(1, 8, 3)
        ref[tuple(slice(a, a + 5) for a in low)] = label
    pred = np.roll(ref, (1, -1, 1), axis=(0, 1, 2))
    found = measure(pred, ref, [1, 2, 3], SPACING_MM, Measures())
    for label, one in found.items():
        p, r = (torch.from_numpy(lm == label)[None, None].float() for lm in (pred, ref))
        how = {"include_background": True, "spacing": SPACING_MM}
        theirs = [
            float(compute_dice(p, r)),
            float(compute_surface_dice(p, r, [2.0], **how)),
            float(compute_hausdorff_distance(p, r, percentile=95, **how)),
            float(compute_average_surface_distance(p, r, symmetric=True, **how)),
            float(compute_average_surface_distance(p, r, **how)),
        ]
        row = as_score("x", label, "", one, VOXEL_MM3, Measures().metrics)
        np.testing.assert_allclose([row.dice, row.nsd, row.hd95_mm, row.assd_mm, row.asd_mm], theirs, atol=1e-5)
    assert found[1].lesions == Lesions(1, 0, 0)
