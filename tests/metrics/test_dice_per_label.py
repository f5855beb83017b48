from __future__ import annotations

import numpy as np
import pytest
import torch

from fran.metrics.dice import dice_per_label, joint_histogram


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    ref = rng.integers(0, 4, (9, 8, 7)).astype(np.uint8)
    pred = np.where(rng.random(ref.shape) < 0.6, ref, rng.integers(0, 4, ref.shape)).astype(np.uint8)
    return pred, ref


def test_equals_monai(maps):
    from monai.metrics import DiceMetric
    from monai.networks.utils import one_hot

    pred, ref = (torch.from_numpy(m)[None, None] for m in maps)
    reference = DiceMetric(include_background=False)(one_hot(pred, 4), one_hot(ref, 4))[0]
    torch.testing.assert_close(dice_per_label(pred, ref, 4), reference.double())


def test_numpy_and_torch_agree(maps):
    pred, ref = maps
    both = dice_per_label(torch.from_numpy(pred), torch.from_numpy(ref), 4).numpy()
    np.testing.assert_array_equal(dice_per_label(pred, ref, 4), both)
    table = joint_histogram(pred, ref, 4)
    assert table[1, 2] == ((ref == 1) & (pred == 2)).sum()


def test_absent_labels():
    ref = np.array([0, 1, 1, 0])
    pred = np.array([0, 1, 0, 2])
    dice = dice_per_label(pred, ref, 4)
    assert dice[0] == pytest.approx(2 / 3)
    assert dice[1] == 0
    assert np.isnan(dice[2])
    assert torch.isnan(dice_per_label(torch.from_numpy(pred), torch.from_numpy(ref), 4)[2])


def test_many_classes_do_not_overflow():
    labels = np.array([0, 299, 300], np.uint16)
    assert dice_per_label(labels, labels, 301)[[298, 299]].tolist() == [1.0, 1.0]


def test_shapes_and_ranges_are_checked():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        dice_per_label(np.zeros(2, int), np.zeros(3, int), 2)
    with pytest.raises(ValueError, match="ref: expected classes 0 to 1, found 0 to 5"):
        dice_per_label(np.array([0, 1]), np.array([0, 5]), 2)
