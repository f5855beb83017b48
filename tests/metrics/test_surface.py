from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fran.metrics import nearest
from fran.metrics.surface import surface_dice, surface_distances, surface_scores

SHAPE, SPACING_MM = (19, 14, 11), (0.7, 1.3, 2.9)


def blobs(seed: int, shape: tuple[int, int, int] = SHAPE, n_labels: int = 3) -> np.ndarray:
    """Overlapping boxes and single voxels; some touch the edge of the volume."""
    rng = np.random.default_rng(seed)
    lm = np.zeros(shape, np.uint8)
    for label in range(1, n_labels + 1):
        low = [int(rng.integers(-2, n - 4)) for n in shape]
        lm[tuple(slice(max(0, a), a + int(rng.integers(3, 9))) for a in low)] = label
        lm[tuple(int(rng.integers(n)) for n in shape)] = label
    return lm


def monai_scores(pred, ref, label, spacing_mm, tolerance_mm):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    p, r = (torch.from_numpy(lm == label)[None, None].float() for lm in (pred, ref))
    how = {"include_background": True, "spacing": spacing_mm}
    return [
        float(found)
        for found in (
            compute_surface_dice(p, r, [tolerance_mm], **how),
            compute_hausdorff_distance(p, r, percentile=95, **how),
            compute_average_surface_distance(p, r, symmetric=True, **how),
            compute_average_surface_distance(p, r, **how),
        )
    ]


def figures(score):
    return [score.nsd, score.hd95_mm, score.assd_mm, score.asd_mm]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("max_offsets", "voxels_per_query"), [(7, 0), (7, 10**9), (300, 100)], ids=["tree", "edt", "ring"]
)
def test_equals_monai(seed, max_offsets, voxels_per_query, monkeypatch):
    monkeypatch.setattr(nearest, "MAX_OFFSETS", max_offsets)
    monkeypatch.setattr(nearest, "VOXELS_PER_QUERY", voxels_per_query)
    pred, ref = blobs(seed), blobs(seed // 2 + 100)
    scores = surface_scores(pred, ref, [1, 2, 3], SPACING_MM, tolerance_mm=1.4)
    for label, score in scores.items():
        expected = monai_scores(pred, ref, label, SPACING_MM, 1.4)
        np.testing.assert_allclose(figures(score), expected, rtol=0, atol=1e-5)
    assert surface_dice(pred, ref, [1, 2, 3], SPACING_MM, 1.4) == {v: s.nsd for v, s in scores.items()}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_prediction_of_specks_equals_monai():
    """As in the first epochs: nearly every surface voxel is far from the reference."""
    rng = np.random.default_rng(0)
    ref = np.zeros((60, 34, 22), np.uint16)
    ref[3:9, 4:12, 5:9] = 300
    pred = np.where(rng.random(ref.shape) < 0.02, 300, 0).astype(np.uint16)
    score = surface_scores(pred, ref, [300], SPACING_MM, 3.0)[300]
    np.testing.assert_allclose(figures(score), monai_scores(pred, ref, 300, SPACING_MM, 3.0), rtol=0, atol=1e-4)
    assert score.hd95_mm > 20


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("order", ["C", "F"])
def test_labels_that_reach_every_face_lie_in_memory_as_they_like(order):
    """A NIfTI file is read in Fortran's order; the box around such labels is the whole map."""
    rng = np.random.default_rng(3)
    pred, ref = (np.asarray(rng.integers(0, 3, SHAPE), np.uint8, order=order) for _ in range(2))
    assert pred.flags.f_contiguous == (order == "F")
    for label, score in surface_scores(pred, ref, [1, 2], SPACING_MM, tolerance_mm=1.4).items():
        expected = monai_scores(pred, ref, label, SPACING_MM, 1.4)
        np.testing.assert_allclose(figures(score), expected, rtol=0, atol=1e-5)


def test_against_every_pair_of_voxels():
    pred, ref = blobs(1), blobs(2)
    found = surface_distances(pred, ref, [2], SPACING_MM)[2]

    def points(lm):
        padded, faces = np.pad(lm == 2, 1), ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
        inside = [v for v in np.argwhere(padded) if sum(padded[tuple(v + np.array(f))] for f in faces) < 6]
        return np.array(inside) * SPACING_MM

    distances = np.linalg.norm(points(pred)[:, None] - points(ref)[None], axis=2)
    np.testing.assert_allclose(found[0], distances.min(1), atol=1e-5)
    np.testing.assert_allclose(found[1], distances.min(0), atol=1e-5)


@pytest.mark.parametrize(
    ("pred", "ref", "tolerance_mm", "nsd", "hd95_mm", "assd_mm", "asd_mm"),
    [
        # voxels 0.5 mm apart along x; positions along x of the label
        ([3, 4], [3, 4], 0.0, 1.0, 0.0, 0.0, 0.0),
        ([3], [5], 0.9, 0.0, 1.0, 1.0, 1.0),
        ([3], [5], 1.0, 1.0, 1.0, 1.0, 1.0),
        # to the reference 0 0 and 1.5 mm, from it 0 0: 4 of 5 within 1 mm, 95 % of the way from 0 to 1.5 in (0, 0, 1.5)
        ([2, 3, 6], [2, 3], 1.0, 0.8, 1.35, 0.3, 0.5),
        ([2, 3], [2, 3, 6], 1.0, 0.8, 1.35, 0.3, 0.0),
    ],
)
def test_worked_examples(pred, ref, tolerance_mm, nsd, hd95_mm, assd_mm, asd_mm):
    maps = []
    for where in (pred, ref):
        lm = np.zeros((9, 3, 4), np.uint8)
        lm[where, 1, 2] = 5
        maps.append(lm)
    score = surface_scores(*maps, [5], (0.5, 1.0, 2.0), tolerance_mm)[5]
    np.testing.assert_allclose(figures(score), [nsd, hd95_mm, assd_mm, asd_mm], atol=1e-6)


def test_inner_voxels_are_no_surface_and_the_edge_of_the_volume_is():
    lm = np.zeros((8, 7, 6), np.uint8)
    lm[0:4, 1:6, 2:5] = 1
    lm[4:8, 1:6, 2:5] = 2
    scores = surface_scores(lm, lm, [1, 2], (1, 1, 1))
    inside = 2 * 3 * 1
    assert scores[1].pred_surface_vox == scores[2].ref_surface_vox == 4 * 5 * 3 - inside


def test_empty_labels():
    lm = np.zeros(SHAPE, np.uint8)
    lm[4:7, 5:8, 2:6] = 1
    empty = np.zeros_like(lm)
    for pred, ref in ((lm, empty), (empty, lm)):
        score = surface_scores(pred, ref, [1], SPACING_MM)[1]
        assert figures(score) == [0.0, math.inf, math.inf, math.inf]
        assert surface_dice(pred, ref, [1], SPACING_MM) == {1: 0.0}
    assert all(math.isnan(f) for f in figures(surface_scores(lm, lm, [2], SPACING_MM)[2]))
    assert math.isnan(surface_dice(empty, empty, [1], SPACING_MM)[1])
    assert surface_scores(lm, lm, [], SPACING_MM) == {}


def test_tolerance_of_each_label_and_rounding():
    lm = np.zeros((30, 5, 6), np.uint8)
    lm[2:10, 1:4, 2:5], lm[20:26, 1:4, 2:5] = 1, 2
    moved = np.roll(lm, 3, axis=0)
    found = surface_dice(moved, lm, [1, 2], (0.1, 5.0, 5.0), {1: 0.3, 2: 0.29})
    assert found[1] == 1.0  # 3 * 0.1 is a little above 0.3
    assert found[2] < 1.0


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint8, (7, 5, 4), elements=st.integers(0, 3)),
    arrays(np.uint8, (7, 5, 4), elements=st.integers(0, 3)),
    st.tuples(*[st.floats(0.1, 5.0)] * 3),
    st.floats(0.0, 8.0),
)
def test_symmetry_identity_and_bounds(pred, ref, spacing_mm, tolerance_mm):
    there = surface_scores(pred, ref, [1, 2, 3], spacing_mm, tolerance_mm)
    back = surface_scores(ref, pred, [1, 2, 3], spacing_mm, tolerance_mm)
    for label, score in there.items():
        np.testing.assert_array_equal(figures(score)[:3], figures(back[label])[:3])
        assert math.isnan(score.nsd) or 0 <= score.nsd <= 1
        if math.isfinite(score.hd95_mm):
            assert score.asd_mm <= np.linalg.norm(np.multiply(pred.shape, spacing_mm))
    for score in surface_scores(pred, pred, [1, 2, 3], spacing_mm, tolerance_mm).values():
        assert figures(score) == [1.0, 0.0, 0.0, 0.0] or math.isnan(score.nsd)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ref": np.zeros((3, 4, 6), np.uint8)}, r"one shape .* \(3, 4, 5\) and \(3, 4, 6\)"),
        ({"pred": np.zeros((3, 4, 5), np.int16)}, "pred: expected an unsigned label map, found int16"),
        ({"spacing_mm": (1.0, 0.0, 2.0)}, "three sides above 0"),
        ({"tolerance_mm": {1: 2.0}}, "for each of .*2.*nan"),
        ({"tolerance_mm": -1.0}, "0 mm or more"),
    ],
)
def test_impossible_arguments(change, message):
    lm = np.zeros((3, 4, 5), np.uint8)
    arguments = {"pred": lm, "ref": lm, "labels": [1, 2], "spacing_mm": (1.0, 1.0, 2.0), "tolerance_mm": 1.0}
    with pytest.raises(ValueError, match=message):
        surface_scores(**{**arguments, **change})
