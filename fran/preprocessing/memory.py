"""How many cases fit into memory side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

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


def free_memory() -> int:
    """Bytes that this process may still take: free on the machine, or left of the control group's limit."""
    limits = [_machine_bytes(Path("/proc/meminfo"))]
    group = Path("/sys/fs/cgroup")
    try:
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        limits.append(limits[0])  # no limit, or none that can be read
    return max(0, min(limits))


def _machine_bytes(meminfo: Path) -> int:
    try:
        text = meminfo.read_text()
        return 1024 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
