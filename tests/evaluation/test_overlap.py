"""Dice from the joint histogram against MONAI and against counting masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk

from fran.errors import DataError, GeometryError
from fran.evaluation import overlap
from fran.evaluation.overlap import compute_dice_fran, joint_histogram, labels_present, overlaps


def _label_map(seed: int, n_classes: int, shape: tuple[int, int, int] = (7, 11, 13)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n_classes, shape).astype(np.uint8)


def _image(array: np.ndarray, spacing: tuple[float, float, float] = (0.8, 1.1, 2.5)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-20.5, 33.0, 7.25))
    return image


@pytest.mark.parametrize("missing_in_ref", [None, 2])
def test_compute_dice_fran_equals_monai(missing_in_ref: int | None) -> None:
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    n_classes = 4
    gt, pred = _label_map(1, n_classes), _label_map(2, n_classes)
    pred[gt == 1] = 1
    if missing_in_ref is not None:
        gt[gt == missing_in_ref] = 0
    channels = [one_hot(torch.as_tensor(a[None, None].astype(np.int64)), n_classes) for a in (pred, gt)]
    expected = compute_dice(*channels, include_background=False)[0].numpy()
    found = compute_dice_fran(_image(gt), _image(pred), n_classes)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(found).sum() == (missing_in_ref is not None)


def test_compute_dice_fran_refuses_other_grids_and_labels() -> None:
    gt, pred = _image(_label_map(1, 3)), _image(_label_map(2, 3))
    with pytest.raises(DataError, match=r"n_classes - 1 = 1"):
        compute_dice_fran(gt, pred, 2)
    pred.SetSpacing((0.8, 1.1, 2.6))
    with pytest.raises(GeometryError, match="spacing"):
        compute_dice_fran(gt, pred, 3)


@pytest.mark.parametrize("block_voxels", [1, 300, 1 << 23])
def test_joint_histogram_counts_voxels(monkeypatch: pytest.MonkeyPatch, block_voxels: int) -> None:
    monkeypatch.setattr(overlap, "BLOCK_VOXELS", block_voxels)
    pred, ref = _label_map(3, 4).astype(np.uint16), _label_map(4, 4)
    pred[pred == 3] = 40000
    labels = [0, 1, 2, 40000]
    found = joint_histogram(pred, ref, labels[1:])
    expected = [[((pred == a) & (np.where(ref == 3, 0, ref) == b)).sum() for b in labels] for a in labels]
    np.testing.assert_array_equal(found, expected)


def test_arrays_in_any_memory_order_give_the_same_counts() -> None:
    pred, ref = _label_map(5, 3), _label_map(6, 3)
    turned = np.asfortranarray(pred), ref[::-1].copy()[::-1]
    np.testing.assert_array_equal(joint_histogram(pred, ref, [1, 2]), joint_histogram(*turned, [1, 2]))


def test_dice_of_empty_labels() -> None:
    pred, ref = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8)
    pred[0, 0, 0], ref[1, 1, 1] = 1, 2
    found = overlaps(pred, ref, [1, 2, 3])
    assert found[1].dice == 0
    assert found[2].dice == 0
    assert math.isnan(found[3].dice)


def test_labels_present() -> None:
    lm = np.zeros((3, 4, 5), np.uint16)
    lm[1, 2, 3], lm[0, 0, 0] = 65535, 7
    assert labels_present(lm) == {7, 65535}
