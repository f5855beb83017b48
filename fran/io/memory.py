"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path


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
