"""Statistics of an image and of its foreground.

Whole numbers are counted value by value, once, and everything follows from the counts, exactly. Other images are
sorted into bins. Both work on slabs that fit into a processor's cache, so that no float64 copy of a volume is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.datasources.records import PERCENTILES, Stats

HISTOGRAM_BINS = 256
IMAGE_BINS = 4096
CONTENT_VOXELS = 4096
LABEL_LIKE_VALUES = 40
"""An image with more values than this is none that was mistaken for a label map."""

_SLAB_VOXELS = 1 << 18
_MAX_COUNTED_SPAN = 1 << 16


@dataclass(frozen=True, eq=False)
class Counts:
    """Voxels of each whole number.

    Attributes:
        values: float64 (m,), ascending, those that occur.
        counts: int64 (m,), voxels of each.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def looks_like_labels(self) -> bool:
        """Few values from 0 up, and mostly 0: a label map, or an image that is one."""
        if not self.values.size or self.values[0] != 0 or self.values[-1] > 255:
            return False
        return bool(self.values.size <= LABEL_LIKE_VALUES and self.counts[0] > self.counts.sum() / 2)


def slabs(flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Consecutive pieces of a flat array."""
    return (flat[start : start + _SLAB_VOXELS] for start in range(0, flat.size, _SLAB_VOXELS))


def count_whole_numbers(flat: NDArray[Any]) -> Counts | None:
    """Counts of each value; None where a value is no whole number, or where they span more than 65536."""
    if not flat.size:
        return Counts(np.zeros(0), np.zeros(0, np.int64))
    low, high = float(flat.min()), float(flat.max())
    if high - low >= _MAX_COUNTED_SPAN or not float(low).is_integer() or not is_whole(flat):
        return None
    span = int(high - low) + 1
    counts = np.zeros(span, np.int64)
    start = flat.dtype.type(low) if flat.dtype.kind == "f" else int(low)
    for slab in slabs(flat):
        # intp before the subtraction: a difference of two int16 may not fit into one
        shifted = slab.astype(np.intp) if flat.dtype.kind != "f" else (slab - start).astype(np.intp)
        if flat.dtype.kind != "f":
            shifted -= start
        counts += np.bincount(shifted, minlength=span)
    used = np.flatnonzero(counts)
    return Counts(low + used.astype(np.float64), counts[used])


def is_whole(flat: NDArray[Any]) -> bool:
    """Whether every value is a whole number."""
    return flat.dtype.kind in "iub" or all(bool((slab == np.rint(slab)).all()) for slab in slabs(flat))


def stats_of_counts(table: Counts) -> Stats:
    """Exact statistics of counted voxels; percentiles as ``numpy.percentile`` (linear)."""
    n = int(table.counts.sum())
    mean = float(table.values @ table.counts / n)
    std = float(np.sqrt(((table.values - mean) ** 2) @ table.counts / n))
    ends = np.cumsum(table.counts)
    percentiles = {}
    for p in PERCENTILES:
        rank = p / 100 * (n - 1)
        below = table.values[np.searchsorted(ends, int(rank), side="right")]
        above = table.values[np.searchsorted(ends, min(int(rank) + 1, n - 1), side="right")]
        percentiles[str(p)] = float(below + (above - below) * (rank - int(rank)))
    return Stats(n, mean, std, float(table.values[0]), float(table.values[-1]), percentiles)


def stats_of_values(values: NDArray[Any]) -> Stats:
    """Exact statistics of any voxels."""
    exact = values.astype(np.float64)
    percentiles = dict(zip(map(str, PERCENTILES), map(float, np.percentile(exact, PERCENTILES)), strict=True))
    return Stats(
        exact.size, float(exact.mean()), float(exact.std()), float(exact.min()), float(exact.max()), percentiles
    )


def histogram(values: NDArray[Any], table: Counts | None) -> NDArray[np.int64]:
    """int64 (256,): voxels in equal bins from the lowest to the highest value."""
    if not values.size:
        return np.zeros(HISTOGRAM_BINS, np.int64)
    if table is not None:
        return np.histogram(table.values, HISTOGRAM_BINS, weights=table.counts)[0].astype(np.int64)
    return np.histogram(values.astype(np.float64), HISTOGRAM_BINS)[0].astype(np.int64)


def bins_of_counts(table: Counts) -> NDArray[np.float64]:
    """`fran.datasources.records.CaseArrays.bins` of counted voxels."""
    low, high = table.values[0], table.values[-1]
    exact = high - low < IMAGE_BINS
    n = int(high - low) + 1 if exact else IMAGE_BINS
    width = 1.0 if exact else (high - low) / n
    index = np.minimum(((table.values - low) / width).astype(np.intp), n - 1)
    weights = table.counts.astype(np.float64)
    rows = [np.bincount(index, weights * table.values**power, n) for power in (0, 1, 2)]
    return _used(np.stack([low + width * np.arange(n), *rows]))


def bins_of_values(flat: NDArray[Any]) -> NDArray[np.float64]:
    """The same of any voxels: 4096 equal bins from the lowest to the highest value."""
    low, high = float(flat.min()), float(flat.max())
    width = (high - low) / IMAGE_BINS or 1.0
    bins = np.zeros((4, IMAGE_BINS))
    bins[0] = low + width * np.arange(IMAGE_BINS)
    for slab in slabs(flat):
        values = slab.astype(np.float64)
        index = np.minimum(((values - low) / width).astype(np.intp), IMAGE_BINS - 1)
        bins[1] += np.bincount(index, minlength=IMAGE_BINS)
        bins[2] += np.bincount(index, values, IMAGE_BINS)
        values *= values
        bins[3] += np.bincount(index, values, IMAGE_BINS)
    return _used(bins)


def _used(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    return bins[:, bins[1] > 0]


def stats_of_bins(bins: NDArray[np.float64], low: float, high: float) -> Stats:
    """Statistics of a whole image; its percentiles are the mean of the bin they fall into."""
    counts = bins[1]
    n = int(counts.sum())
    mean = float(bins[2].sum() / n)
    std = float(np.sqrt(max(bins[3].sum() / n - mean * mean, 0.0)))
    centres = bins[2] / counts
    ranks = np.cumsum(counts) - 1
    percentiles = {str(p): float(centres[np.searchsorted(ranks, p / 100 * (n - 1))]) for p in PERCENTILES}
    return Stats(n, mean, std, low, high, percentiles)


def image_content(array: NDArray[Any], bins: NDArray[np.float64]) -> str:
    """Digest of an image's voxels, whatever file format or axis order they are stored in.

    Args:
        array: (x, y, z), RAS.
        bins: its `CaseArrays.bins`.

    It covers the size, the histogram, and 4096 voxels at fixed places: two scans that agree in all of them are one.
    """
    places = np.linspace(0, array.size - 1, CONTENT_VOXELS).astype(np.intp)
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(bins[:2]).tobytes())
    digest.update(array[np.unravel_index(places, array.shape)].astype(np.float32).tobytes())
    return digest.hexdigest()


def lm_content(foreground: NDArray[np.bool_], labels: NDArray[np.int64], layout: str) -> str:
    """Digest of a label map's voxels: which are labelled, and how many bear each label.

    Args:
        foreground: flat, in the order in which the image is stored.
        labels: voxels of each label.
        layout: size and axis order of that flat array.
    """
    digest = hashlib.blake2b(layout.encode(), digest_size=16)
    digest.update(labels.tobytes())
    digest.update(np.packbits(foreground).tobytes())
    return digest.hexdigest()
