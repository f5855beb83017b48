"""Boxes of voxels: (first voxel, one past the last), each (x, y, z)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from fran.io.casefile import Vox
from fran.preprocessing.foreground import Box


def union(boxes: Iterable[Box]) -> Box | None:
    """Smallest box around all; None where there is none.

    Example:
        >>> union([((1, 2, 3), (4, 5, 6)), ((0, 3, 3), (2, 9, 4))])
        ((0, 2, 3), (4, 9, 6))
    """
    found = list(boxes)
    if not found:
        return None
    lows, highs = zip(*found, strict=True)
    return _vox(map(min, zip(*lows, strict=True))), _vox(map(max, zip(*highs, strict=True)))


def expanded(box: Box, margin_mm: float, spacing_mm: Sequence[float], shape: Vox) -> Box:
    """Box with at least a margin on each side, as far as the volume goes.

    Example:
        >>> expanded(((5, 5, 5), (8, 8, 8)), 2.0, (1.0, 1.5, 4.0), (9, 20, 20))
        ((3, 3, 4), (9, 10, 9))
    """
    margin = [math.ceil(margin_mm / s - 1e-6) for s in spacing_mm]
    low, high = box
    return (
        _vox(max(0, a - m) for a, m in zip(low, margin, strict=True)),
        _vox(min(n, b + m) for b, m, n in zip(high, margin, shape, strict=True)),
    )


def grown(box: Box, least: Vox, shape: Vox) -> Box:
    """Box of at least a size: grown on both sides, pushed back into the volume, and leaving it only where it ends.

    Example:
        >>> grown(((0, 4, 2), (2, 6, 4)), (4, 4, 8), (10, 10, 5))
        ((0, 3, -1), (4, 7, 7))
    """
    sides = [_side(a, b, m, n) for a, b, m, n in zip(*box, least, shape, strict=True)]
    return _vox(a for a, _ in sides), _vox(b for _, b in sides)


def _side(low: int, high: int, least: int, full: int) -> tuple[int, int]:
    missing = least - (high - low)
    if missing <= 0:
        return low, high
    if least >= full:
        start = -((least - full) // 2)
        return start, start + least
    start = min(max(0, low - missing // 2), full - least)
    return start, start + least


def centred(size: Vox, shape: Vox) -> Box:
    """Box of a size in the middle of a volume; it leaves the volume where that is smaller."""
    low = _vox((n - m) // 2 if n >= m else -((m - n) // 2) for m, n in zip(size, shape, strict=True))
    return low, _vox(a + m for a, m in zip(low, size, strict=True))


def grid_starts(low: int, high: int, size: int, overlap: float) -> list[int]:
    """First voxels of patches that cover ``low:high`` on one axis; the last one is pushed back to end with it.

    Args:
        low, high: range to cover, at least ``size`` long.
        size: of a patch.
        overlap: least share of a patch that neighbours have in common, 0 up to but not 1.

    Example:
        >>> grid_starts(0, 10, 4, 0.25)
        [0, 3, 6]
        >>> grid_starts(2, 9, 4, 0.0)
        [2, 5]
    """
    step = max(1, int(size * (1 - overlap) + 1e-6))
    starts = list(range(low, high - size, step))
    return [*starts, high - size] if high - size not in starts else starts


def _vox(values: Iterable[int]) -> Vox:
    x, y, z = values
    return x, y, z
