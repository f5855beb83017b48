"""Dice per label from one joint histogram of prediction and reference."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Voxels counted at a time: an index takes 8 bytes, so the peak stays below 64 MiB for any volume.
BLOCK_VOXELS = 1 << 22


@overload
def joint_histogram(pred: Tensor, ref: Tensor, n_classes: int) -> Tensor: ...
@overload
def joint_histogram(pred: NDArray[Any], ref: NDArray[Any], n_classes: int) -> NDArray[np.int64]: ...
def joint_histogram(pred: Any, ref: Any, n_classes: int) -> Any:
    """Voxels per pair of classes: ``result[r, p]`` counts reference r predicted as p.

    Args:
        pred: channel indices, any shape; torch or NumPy.
        ref: the same shape and kind.
        n_classes: classes including background.

    Raises:
        ValueError: shapes differ, or a value lies outside 0 .. n_classes - 1.
    """
    if tuple(pred.shape) != tuple(ref.shape):
        raise ValueError(f"pred and ref: expected one shape, found {tuple(pred.shape)} and {tuple(ref.shape)}")
    for name, labels in (("pred", pred), ("ref", ref)):
        if labels.shape and min(labels.shape) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
            found = f"{int(labels.min())} to {int(labels.max())}"
            raise ValueError(f"{name}: expected classes 0 to {n_classes - 1}, found {found}")
    if isinstance(pred, Tensor):
        total = torch.zeros(n_classes**2, dtype=torch.int64, device=pred.device)
        for p, r in zip(*(torch.split(lm.flatten(), BLOCK_VOXELS) for lm in (pred, ref)), strict=True):
            total += torch.bincount(r.long() * n_classes + p.long(), minlength=n_classes**2)
        return total.view(n_classes, n_classes)
    counts = np.zeros(n_classes**2, dtype=np.int64)
    flat_pred, flat_ref = pred.ravel(), ref.ravel()
    for start in range(0, flat_pred.size, BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        pairs = flat_ref[block].astype(np.int64) * n_classes + flat_pred[block]
        counts += np.bincount(pairs, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


@overload
def dice_per_label(pred: Tensor, ref: Tensor, n_classes: int) -> Tensor: ...
@overload
def dice_per_label(pred: NDArray[Any], ref: NDArray[Any], n_classes: int) -> NDArray[np.float64]: ...
def dice_per_label(pred: Any, ref: Any, n_classes: int) -> Any:
    """Dice 2|A∩B| / (|A|+|B|) of each foreground class.

    A class absent from both is NaN: there is nothing to measure. Absent from one of them only, it is 0.

    Args:
        pred: channel indices, any shape; torch or NumPy.
        ref: the same shape and kind.
        n_classes: classes including background.

    Returns:
        (n_classes - 1,) float64 of the same kind, class 1 first.

    Example:
        >>> dice_per_label(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 4).round(3).tolist()
        [0.667, 0.667, nan]
    """
    return dice_of(joint_histogram(pred, ref, n_classes))


@overload
def dice_of(pairs: Tensor) -> Tensor: ...
@overload
def dice_of(pairs: NDArray[np.int64]) -> NDArray[np.float64]: ...
def dice_of(pairs: Any) -> Any:
    """`dice_per_label` from the counts of `joint_histogram`."""
    diagonal = pairs.diagonal()
    overlap, total = 2.0 * diagonal, pairs.sum(0) + pairs.sum(1)
    if isinstance(pairs, Tensor):
        return (overlap.double() / total.double())[1:]
    with np.errstate(invalid="ignore"):
        return (overlap / total)[1:]
