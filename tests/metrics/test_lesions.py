"""Components counted and matched, against counting by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from fran.metrics.lesions import Lesions, lesion_scores

SHAPE = (17, 9, 6)


def _lm(*boxes: tuple[int, int, int], value: int = 1) -> np.ndarray:
    """Boxes from x0 to x1 in the row y, each 2 slices thick."""
    lm = np.zeros(SHAPE, np.uint8)
    for x0, x1, y in boxes:
        lm[x0:x1, y : y + 2, 2:4] = value
    return lm


@pytest.mark.parametrize(
    ("pred", "ref", "min_iou", "expected"),
    [
        ([(1, 4, 1)], [(1, 4, 1)], 0.1, (1, 0, 0)),
        ([], [(1, 4, 1), (8, 9, 5)], 0.1, (0, 0, 2)),
        ([(1, 4, 1), (8, 9, 5)], [], 0.1, (0, 2, 0)),
        ([(3, 7, 1)], [(1, 4, 1)], 0.1, (1, 0, 0)),  # 1 voxel of 6 along x in common: 0.17
        ([(3, 7, 1)], [(1, 4, 1)], 0.2, (0, 1, 1)),
        ([(3, 7, 1)], [(1, 4, 1)], 0.0, (1, 0, 0)),
        ([(1, 3, 1), (4, 6, 1)], [(1, 6, 1)], 0.1, (1, 1, 0)),  # one lesion in two pieces
        ([(1, 9, 1)], [(1, 4, 1), (5, 9, 1)], 0.1, (1, 0, 1)),  # two lesions as one
        ([(0, 17, 1)], [(1, 2, 1)], 0.1, (0, 1, 1)),  # everything along x: 1 of 17
    ],
)
def test_counted_by_hand(pred, ref, min_iou, expected) -> None:
    assert lesion_scores(_lm(*pred), _lm(*ref), [1], min_iou) == {1: Lesions(*expected)}


def test_as_many_pairs_as_can_be() -> None:
    """The long prediction fits the first lesion better, but the short one touches that alone."""
    pred, ref = _lm((0, 1, 1), (2, 10, 1)), _lm((0, 6, 1), (8, 12, 1))
    assert lesion_scores(pred, ref, [1], 0.0)[1] == Lesions(2, 0, 0)


def test_corners_join_and_labels_do_not() -> None:
    lm = np.zeros(SHAPE, np.uint16)
    lm[2, 2, 2] = lm[3, 3, 3] = 300
    lm[4, 4, 4] = 7
    assert lesion_scores(lm, lm, [7, 300, 9]) == {7: Lesions(1, 0, 0), 300: Lesions(1, 0, 0), 9: Lesions(0, 0, 0)}
    other = np.where(lm == 7, 300, 7).astype(np.uint16) * (lm > 0)
    assert lesion_scores(other, lm, [7, 300]) == {7: Lesions(0, 1, 1), 300: Lesions(0, 1, 1)}
    assert lesion_scores(lm, lm, [7]) == {7: Lesions(1, 0, 0)}
    assert lesion_scores(_lm(), _lm(), [5]) == {5: Lesions(0, 0, 0)}
    assert lesion_scores(_lm((1, 4, 1)), _lm(), [1, 900]) == {1: Lesions(0, 1, 0), 900: Lesions(0, 0, 0)}


@pytest.mark.parametrize("seed", range(4))
def test_specks_against_scipy_label_by_label(seed: int) -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(seed)
    noise = [ndimage.uniform_filter(rng.random(SHAPE), 3) for _ in range(2)]
    pred, ref = (np.digitize(n, np.quantile(n, [0.6, 0.8])).astype(np.uint8) for n in noise)
    ref[:8] = np.where(rng.random((8, *SHAPE[1:])) < 0.8, pred[:8], ref[:8])
    found = lesion_scores(np.asfortranarray(pred), ref, [1, 2], 0.2)
    for label in (1, 2):
        (p, n_p), (r, n_r) = (ndimage.label(lm == label, np.ones((3, 3, 3))) for lm in (pred, ref))
        masks = [[side == i for i in range(1, n + 1)] for side, n in ((p, n_p), (r, n_r))]
        iou = np.array([[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]])
        pairs = (iou >= 0.2)[linear_sum_assignment(iou >= 0.2, maximize=True)].sum()
        assert found[label] == Lesions(pairs, n_p - pairs, n_r - pairs)
    assert found[1].n_pred > 1


def test_shares() -> None:
    some = Lesions(tp=3, fp=1, fn=2)
    assert (some.precision, some.recall, some.f1) == (0.75, 0.6, pytest.approx(2 / 3))
    nothing, only_pred, only_ref = Lesions(0, 0, 0), Lesions(0, 2, 0), Lesions(0, 0, 2)
    assert all(math.isnan(v) for v in (nothing.precision, nothing.recall, nothing.f1))
    assert (only_pred.precision, only_pred.f1) == (0, 0)
    assert (only_ref.recall, only_ref.f1) == (0, 0)
    assert math.isnan(only_pred.recall)
    assert math.isnan(only_ref.precision)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="one shape"):
        lesion_scores(_lm(), _lm()[1:], [1])
    with pytest.raises(ValueError, match="int64"):
        lesion_scores(_lm().astype(int), _lm(), [1])
    with pytest.raises(ValueError, match="min_iou"):
        lesion_scores(_lm(), _lm(), [1], 1.5)
