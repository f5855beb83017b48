"""Which spacing and patch to begin with, and why, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.networks.topology import residual_multiple, topology

ANISOTROPIC = 3.0
PATCH_VOXELS = 128**3
"""Voxels of a patch that U-Nets of 32 filters are commonly trained with, batches of two, on a GPU of about 10 GB."""

_SMALLEST = 16  # below, no U-Net of three levels fits
_STEP = 8
_LARGEST = 512

Size = tuple[int, int, int]


def recommend(
    spacings_mm: NDArray[np.float64], sizes: NDArray[np.float64], modality: str, patch_voxels: int = PATCH_VOXELS
) -> dict[str, Any]:
    """Spacing, patch and modality to begin with.

    Args:
        spacings_mm: (cases, 3), RAS.
        sizes: voxels (cases, 3), RAS.
        modality: of the cases.
        patch_voxels: most voxels that a patch may have; memory of a training grows in proportion.

    Returns:
        ``spacing``, ``patch_size``, ``patch_dim0`` and ``patch_dim1``, ``median_shape`` (voxels at that spacing),
        ``modality``, ``overrides`` (for a command line) and ``reasons`` (sentences).
    """
    spacing = recommended_spacing(spacings_mm)
    # whole voxels: a case of 64.02 voxels, of a rounded spacing, is held by 64
    shape = np.round(np.median(sizes * spacings_mm / spacing, axis=0))
    patch = recommended_patch(shape, spacing, patch_voxels)
    numbers = ",".join(f"{s:g}" for s in spacing)
    return {
        "spacing": spacing,
        "patch_size": list(patch),
        "patch_dim0": patch[0],
        "patch_dim1": patch[2],
        "median_shape": [float(n) for n in shape],
        "modality": modality,
        "overrides": [f"spacing=[{numbers}]", f"patch_dim0={patch[0]}", f"patch_dim1={patch[2]}"],
        "reasons": [
            *_spacing_reasons(spacings_mm, spacing),
            *_patch_reasons(shape, spacing, patch, patch_voxels),
            _modality_reason(modality),
        ],
    }


def recommended_spacing(spacings_mm: NDArray[np.float64]) -> list[float]:
    """Spacing (x, y, z) to resample to, from an array (cases, 3): the median of each axis.

    Where the coarsest axis is at least three times as coarse as the finest, it gets its 10th percentile instead, but
    nothing finer than the next axis, so that thick slices do not decide for thin ones (the rule of nnU-Net, Isensee et
    al., Nature Methods 2021, without its condition on the number of voxels). Rounded to 0.001 mm.
    """
    target = np.median(spacings_mm, axis=0)
    worst = _coarse_axis(target)
    if worst is not None:
        others = np.delete(target, worst)
        target[worst] = max(float(np.percentile(spacings_mm[:, worst], 10)), float(others.max()))
    return [round(float(s), 3) for s in target]


def recommended_patch(shape: NDArray[np.float64], spacing: Sequence[float], patch_voxels: int = PATCH_VOXELS) -> Size:
    """Patch (x, y, z) voxels, x and y equal, for cases of median `shape` voxels at `spacing`.

    Among the sizes that the shipped networks can take and that hold at most `patch_voxels`: the one whose shortest side
    in mm is longest, sides beyond the median case not counting; then the next side, then the fewest voxels.
    """
    extent_mm = shape * spacing

    def reach(size: Size) -> tuple[list[float], int]:
        seen = np.minimum(np.array(size) * spacing, extent_mm)
        return sorted(seen.round(6).tolist()), -int(np.prod(size))

    return max(_sizes(spacing, patch_voxels), key=reach, default=(_SMALLEST,) * 3)


def fits(size: Size, spacing: Sequence[float]) -> bool:
    """Whether DynUNet and SegResNet, as they are shipped, take a patch of this size."""
    if any(n % m for n, m in zip(size, residual_multiple(spacing), strict=True)):
        return False
    plan = topology(size, spacing)
    return len(plan.strides) >= 3 and not any(n % m for n, m in zip(size, plan.multiple, strict=True))


def _sizes(spacing: Sequence[float], patch_voxels: int) -> Iterator[Size]:
    for side in range(_SMALLEST, _LARGEST + 1, _STEP):
        for depth in range(_SMALLEST, _LARGEST + 1, _STEP):
            size = (side, side, depth)
            if side * side * depth <= patch_voxels and fits(size, spacing):
                yield size


def _coarse_axis(target: NDArray[np.float64]) -> int | None:
    worst = int(np.argmax(target))
    return worst if target[worst] >= ANISOTROPIC * target.min() else None


def _spacing_reasons(spacings_mm: NDArray[np.float64], spacing: Sequence[float]) -> Iterator[str]:
    median = np.median(spacings_mm, axis=0)
    worst = _coarse_axis(median)
    if worst is None:
        yield f"spacing {_times(spacing)} mm: the median of the training cases on each axis."
        return
    yield (
        f"spacing {_times(spacing)} mm: the median of the training cases, but on {'xyz'[worst]}, whose median of "
        f"{median[worst]:.3g} mm is {median[worst] / median.min():.1f} times that of the finest axis: there the 10th "
        "percentile, so that cases with thin slices keep their detail."
    )


def _patch_reasons(shape: NDArray[np.float64], spacing: Sequence[float], patch: Size, budget: int) -> Iterator[str]:
    sides = np.array(patch) * spacing
    share = np.minimum(np.array(patch) / shape, 1)
    if float(share.prod()) == 1:
        yield (
            f"patch {_times(patch)}: the smallest that holds a whole median case of {_times(shape)} voxels and goes "
            "with the strides of the shipped networks."
        )
        return
    yield (
        f"patch {_times(patch)}: {_times(sides)} mm of a median case of {_times(shape * spacing)} mm "
        f"({_times(shape)} voxels), {100 * float(share.prod()):.0f} % of it; sides as equal in mm as the networks' "
        f"strides and {budget:,} voxels allow (for a smaller GPU, or a CPU, halve that: patch_voxels={budget // 2})."
    )
    if float(share.prod()) < 0.1:
        yield (
            "a patch sees less than a tenth of a case: where whole organs must be told apart, a coarser spacing may do "
            "better; compare both."
        )


def _modality_reason(modality: str) -> str:
    if modality == "CT":
        return "CT: clipped to intensity_clip_range, then standardised by the training cases' mean and deviation."
    if modality == "mixed":
        return "several modalities: each case is normalised by its own rule; consider a project for each."
    return f"{modality}: each case is standardised by its own mean and deviation."


def _times(numbers: Sequence[float] | NDArray[np.float64]) -> str:
    return " x ".join(f"{float(n):.3g}" for n in numbers)
