"""How many cases fit into memory side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence

from fran.io.memory import free_memory

__all__ = ["AUTO", "SHARE", "case_bytes", "fitting_processes", "free_memory", "usable_cores"]

AUTO = -1
SHARE = 0.8
"""Of the free memory that may be planned for."""

_WORKER_BYTES = 160_000_000
_RAW_BYTES_PER_VOXEL = 6  # image and label map as read, and the blocks that are resampled
_STORED_BYTES_PER_VOXEL = 8  # float32 result, its int16 form, label map, compressed file


def case_bytes(size: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> int:
    """Estimated peak memory of a worker that brings one case to a spacing.

    Args:
        size: raw voxels (x, y, z).
        spacing_mm: of the raw file.
        target_mm: of the plan.

    Example:
        >>> case_bytes((512, 512, 200), (0.8, 0.8, 1.5), (1.5, 1.5, 3.0)) // 10**6
        534
    """
    raw = math.prod(size)
    stored = math.prod(n * s / t for n, s, t in zip(size, spacing_mm, target_mm, strict=True))
    return int(_WORKER_BYTES + _RAW_BYTES_PER_VOXEL * raw + _STORED_BYTES_PER_VOXEL * stored)


def fitting_processes(needs: Iterable[int], free_bytes: int, cores: int) -> int:
    """Processes that fit even when each has the largest case; 1 at least.

    Example:
        >>> fitting_processes([300, 500], 2000, 8), fitting_processes([300], 100, 8), fitting_processes([1], 900, 4)
        (3, 1, 4)
    """
    largest = max(needs, default=1)
    return max(1, min(cores, int(SHARE * free_bytes / largest)))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
