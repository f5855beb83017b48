"""Intensity statistics of one case, the same for preprocessing and for inference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERCENTILES = {"p005": 0.5, "p995": 99.5}
_SLAB_VOXELS = 1 << 22


def intensity_statistics(raw: NDArray[np.generic], slope: float = 1.0, inter: float = 0.0) -> dict[str, float]:
    """Mean, std, min, max and the 0.5th and 99.5th percentile of what lies strictly above the array's minimum.

    The minimum is left out because padding and air outside the field of view sit there and would swamp a percentile.
    An array with one value only has that value as every statistic and a std of 0. The std is the population one
    (ddof 0), percentiles are interpolated linearly, as ``numpy.percentile`` does by default.

    Args:
        raw: image of any shape, integers or finite floats. 8- and 16-bit integers are counted rather than sorted.
        slope: raw units for one stored unit, positive; statistics are returned as ``stored * slope + inter``.
        inter: raw value of a stored 0.

    Returns:
        keys ``mean, std, min, max, p005, p995`` in raw units (HU for CT).
    """
    if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2:
        stats = _from_counts(*_value_counts(raw))
    else:
        stats = _from_values(raw)
    return {name: v * slope if name == "std" else v * slope + inter for name, v in stats.items()}


def _value_counts(raw: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values present in an 8/16-bit array in ascending order, and how often each occurs."""
    bits = 8 * raw.dtype.itemsize
    low = -(1 << bits - 1) if raw.dtype.kind == "i" else 0
    counts = np.zeros(1 << bits, np.int64)
    flat = raw.reshape(-1)
    for start in range(0, flat.size, _SLAB_VOXELS):  # bincount widens to int64, so it is fed piece by piece
        counts += np.bincount(flat[start : start + _SLAB_VOXELS].astype(np.int64) - low, minlength=counts.size)
    present = np.flatnonzero(counts)
    return (present + low).astype(np.float64), counts[present]


def _from_counts(values: NDArray[np.float64], counts: NDArray[np.int64]) -> dict[str, float]:
    if values.size > 1:
        values, counts = values[1:], counts[1:]
    total = int(counts.sum())
    mean = float((values * counts).sum() / total)
    std = float(np.sqrt((np.square(values - mean) * counts).sum() / total))
    stats = {"mean": mean, "std": std, "min": float(values[0]), "max": float(values[-1])}
    last_rank = np.cumsum(counts) - 1
    for name, percent in PERCENTILES.items():
        rank = percent / 100 * (total - 1)
        below, above = values[np.searchsorted(last_rank, [np.floor(rank), np.ceil(rank)])]
        stats[name] = float(below + (above - below) * (rank - np.floor(rank)))
    return stats


def _from_values(raw: NDArray[np.generic]) -> dict[str, float]:
    flat = np.asarray(raw).reshape(-1)
    kept = flat[flat > flat.min()]
    if not kept.size:
        kept = flat[:1]
    percentiles = np.percentile(kept, list(PERCENTILES.values()))
    stats = {
        "mean": float(np.mean(kept, dtype=np.float64)),
        "std": float(np.std(kept, dtype=np.float64)),
        "min": float(kept.min()),
        "max": float(kept.max()),
    }
    return stats | dict(zip(PERCENTILES, map(float, percentiles), strict=True))
