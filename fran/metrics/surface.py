"""Distances between the surfaces of two label maps: normalised surface Dice, HD95, average distances.

The surface of a label is the set of its voxels that touch another value, or the edge of the volume, across a face; a
distance runs from a voxel's centre to the nearest centre of the other surface, in mm. This is what MONAI computes by
default (``compute_surface_dice``, ``compute_hausdorff_distance``, ``compute_average_surface_distance``). DeepMind's
``surface-distance`` weighs marching-cube surface elements by their area instead, so its figures differ a little.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.metrics.nearest import Floats, Ring, Surfaces, find_surfaces

#: HD95 is the 95th percentile.
PERCENTILE = 95.0


@dataclass(frozen=True)
class SurfaceScore:
    """Surfaces of one label compared.

    Where the label is in neither map, everything is NaN. Where it is in one of them only, NSD is 0 and the distances
    are infinite: there is nothing to be near to, so they belong into no mean.

    Attributes:
        nsd: share of both surfaces that lies within the tolerance of the other one (Nikolov et al. 2021,
            doi:10.2196/26151), counted in surface voxels.
        hd95_mm: the larger of the two directed 95th percentiles, interpolated linearly.
        assd_mm: mean over the distances of both surfaces together.
        asd_mm: mean distance of the prediction's surface from the reference's.
        pred_surface_vox, ref_surface_vox: sizes of the surfaces.
    """

    nsd: float
    hd95_mm: float
    assd_mm: float
    asd_mm: float
    pred_surface_vox: int
    ref_surface_vox: int


def surface_scores(
    pred: NDArray[Any],
    ref: NDArray[Any],
    labels: Collection[int],
    spacing_mm: Sequence[float],
    tolerance_mm: float | Mapping[int, float] = 2.0,
) -> dict[int, SurfaceScore]:
    """Compare the surfaces of some labels.

    Args:
        pred: (x, y, z) unsigned label map.
        ref: (x, y, z) unsigned label map on the same grid.
        labels: values to compare, 0 excluded.
        spacing_mm: (x, y, z) voxel size.
        tolerance_mm: of the NSD, for all labels or for each.

    Raises:
        ValueError: shapes, types, spacing or tolerance are impossible.

    Example:
        >>> ref = np.zeros((8, 7, 6), np.uint8)
        >>> ref[2:6, 2:5, 2:4] = 1
        >>> found = surface_scores(np.roll(ref, 1, axis=0), ref, [1], (0.5, 1.0, 2.0), tolerance_mm=0.4)[1]
        >>> round(found.nsd, 3), found.hd95_mm
        (0.75, 0.5)
    """
    bound = dict.fromkeys(labels, math.inf)
    limits = _tolerances(tolerance_mm, labels)
    return {
        label: _score(*both, limits[label]) for label, both in _distances(pred, ref, labels, spacing_mm, bound).items()
    }


def surface_dice(
    pred: NDArray[Any],
    ref: NDArray[Any],
    labels: Collection[int],
    spacing_mm: Sequence[float],
    tolerance_mm: float | Mapping[int, float] = 2.0,
) -> dict[int, float]:
    """NSD alone, which needs no distance beyond the tolerance: quick also for a prediction that is far off.

    Arguments, rules for empty labels and errors are those of `surface_scores`.
    """
    limits = _tolerances(tolerance_mm, labels)
    return {
        label: _share_within(*both, limits[label])
        for label, both in _distances(pred, ref, labels, spacing_mm, limits).items()
    }


def surface_distances(
    pred: NDArray[Any], ref: NDArray[Any], labels: Collection[int], spacing_mm: Sequence[float]
) -> dict[int, tuple[Floats, Floats]]:
    """Distances in mm of each surface voxel of the prediction from the reference's surface, and the other way round.

    They are infinite where the other surface is empty. Arguments and errors are those of `surface_scores`.
    """
    return _distances(pred, ref, labels, spacing_mm, dict.fromkeys(labels, math.inf))


def _score(to_ref: Floats, to_pred: Floats, tolerance_mm: float) -> SurfaceScore:
    sizes = len(to_ref), len(to_pred)
    nsd = _share_within(to_ref, to_pred, tolerance_mm)
    if not all(sizes):
        far = math.inf if any(sizes) else math.nan
        return SurfaceScore(nsd, far, far, far, *sizes)
    sums = to_ref.sum(dtype=np.float64), to_pred.sum(dtype=np.float64)
    hd95 = max(float(np.percentile(found, PERCENTILE)) for found in (to_ref, to_pred))
    return SurfaceScore(nsd, hd95, float(sum(sums)) / sum(sizes), float(sums[0]) / sizes[0], *sizes)


def _share_within(to_ref: Floats, to_pred: Floats, tolerance_mm: float) -> float:
    total = len(to_ref) + len(to_pred)
    # in float32: 3 * 0.1 mm is not beyond 0.3 mm
    limit = np.float32(tolerance_mm)
    within = np.count_nonzero(to_ref <= limit) + np.count_nonzero(to_pred <= limit)
    return float(within / total) if total else math.nan


def _distances(
    pred: NDArray[Any],
    ref: NDArray[Any],
    labels: Collection[int],
    spacing_mm: Sequence[float],
    bound_mm: Mapping[int, float],
) -> dict[int, tuple[Floats, Floats]]:
    """Directed distances per label; those beyond the label's bound are infinite."""
    spacing = _checked(pred, ref, spacing_mm)
    box = foreground_box(pred, ref)
    if box is None or not labels:
        return {label: (np.empty(0, np.float32), np.empty(0, np.float32)) for label in labels}
    ring = Ring.of(spacing, bound_mm)
    wanted = np.zeros(int(max(pred.max(), ref.max(), *labels)) + 1, dtype=bool)
    wanted[list(labels)] = True
    p, r = (find_surfaces(lm[box], ring.margin, wanted) for lm in (pred, ref))
    to_ref, to_pred = _split(p, ring.search(p, r), labels), _split(r, ring.search(r, p), labels)
    return {label: (to_ref[label], to_pred[label]) for label in labels}


def _split(surfaces: Surfaces, found: Floats, labels: Collection[int]) -> dict[int, Floats]:
    order = np.argsort(surfaces.label, kind="stable")
    ordered, found = surfaces.label[order], found[order]
    return {
        label: found[slice(*(int(np.searchsorted(ordered, label, side)) for side in ("left", "right")))]
        for label in labels
    }


def foreground_box(pred: NDArray[Any], ref: NDArray[Any]) -> tuple[slice, ...] | None:
    """The box that holds everything above 0 in either map; None where there is nothing."""
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(pred.any(axis=others) | ref.any(axis=others))
        if not len(filled):
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _tolerances(tolerance_mm: float | Mapping[int, float], labels: Collection[int]) -> dict[int, float]:
    given = tolerance_mm if isinstance(tolerance_mm, Mapping) else dict.fromkeys(labels, tolerance_mm)
    limits = {label: float(given.get(label, math.nan)) for label in labels}
    bad = {label: limit for label, limit in limits.items() if not 0 <= limit < math.inf}
    if bad:
        raise ValueError(f"tolerance_mm: expected 0 mm or more for each of {sorted(labels)}, found {bad}")
    return limits


def _checked(pred: NDArray[Any], ref: NDArray[Any], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    if pred.shape != ref.shape or pred.ndim != 3:
        raise ValueError(f"pred and ref: expected one shape (x, y, z), found {pred.shape} and {ref.shape}")
    for name, lm in (("pred", pred), ("ref", ref)):
        if not (np.issubdtype(lm.dtype, np.unsignedinteger) or lm.dtype == bool):
            raise ValueError(f"{name}: expected an unsigned label map, found {lm.dtype}")
    spacing = np.array(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing_mm: expected three sides above 0 (x, y, z), found {list(spacing_mm)}")
    return spacing
