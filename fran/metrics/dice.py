"""Dice per label from one joint histogram of prediction and reference."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
        pairs = ref.flatten().long() * n_classes + pred.flatten().long()
        return torch.bincount(pairs, minlength=n_classes**2).view(n_classes, n_classes)
    small = np.uint16 if n_classes**2 <= 2**16 else np.int64
    pairs = ref.ravel().astype(small) * small(n_classes) + pred.ravel().astype(small)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


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
    pairs = joint_histogram(pred, ref, n_classes)
    diagonal = pairs.diagonal()
    overlap, total = 2.0 * diagonal, pairs.sum(0) + pairs.sum(1)
    if isinstance(pairs, Tensor):
        return (overlap.double() / total.double())[1:]
    with np.errstate(invalid="ignore"):
        return (overlap / total)[1:]
