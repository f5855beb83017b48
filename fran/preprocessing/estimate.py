"""What a stage will cost, from what is known about the raw cases: bytes on disk and seconds of one process."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fran.io.casefile import MAX_FG_INDICES

SECONDS_PER_VOXEL = 3.5e-8
"""Of a raw case, where nothing was measured: 512 x 512 x 200 voxels in 1.84 s on one core (benchmarks/RESULTS.md)."""

BYTES_PER_VOXEL, BYTES_PER_INDEX = 1.25, 1.1
"""Of a case file, where noise bounds the compression: 1.1 to 1.3 (benchmarks/RESULTS.md)."""

_START_SECONDS = 2.0
_HEADER_BYTES = 15_000


@dataclass(frozen=True)
class RawCase:
    """What an estimate needs to know of a case: voxels (x, y, z), mm, and voxels of each label."""

    case_id: str
    size: Sequence[int]
    spacing_mm: Sequence[float]
    labels: Mapping[int, int]


def estimated_shape(case: RawCase, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Voxels (x, y, z) of the case at another spacing."""
    x, y, z = (max(1, round(n * old / new)) for n, old, new in zip(case.size, case.spacing_mm, spacing_mm, strict=True))
    return x, y, z


def estimated_bytes(
    case: RawCase,
    spacing_mm: Sequence[float],
    fg_indices: bool = True,
    shape: Sequence[int] | None = None,
    overlap: float = 0.0,
) -> int:
    """Size of the case file: image and label map compressed as measured on CT, and the foreground sample.

    Args:
        case: what is known of it.
        spacing_mm: (x, y, z) that it is brought to.
        fg_indices: whether foreground positions are stored.
        shape: voxels (x, y, z) that the volume is resized to; None leaves those that follow from the spacing. What
            cropping takes away is not known before it is done, so for a crop the size is an upper bound; so it is with
            ``clip_hu``, which saves what is air.
        overlap: share of a patch that neighbours have in common, where the volume is cut into patches.
    """
    scale = math.prod(old / new for old, new in zip(case.spacing_mm, spacing_mm, strict=True))
    noted = sum(min(MAX_FG_INDICES, round(count * scale)) for count in case.labels.values()) if fg_indices else 0
    voxels = math.prod(shape or estimated_shape(case, spacing_mm)) / (1 - overlap) ** 3
    return round(voxels * BYTES_PER_VOXEL + noted * BYTES_PER_INDEX) + _HEADER_BYTES


def measured_rate(logs: Iterable[Path], cases: Iterable[RawCase]) -> float | None:
    """Seconds per raw voxel in earlier runs of the stage over these cases; None where there were none.

    Args:
        logs: files ``log.jsonl`` that `fran.preprocessing.run` wrote.
        cases: of the project.
    """
    voxels = {case.case_id: math.prod(case.size) for case in cases}
    rates = []
    for path in logs:
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry.get("status") == "done" and entry.get("seconds") and entry["case_id"] in voxels:
                rates.append(entry["seconds"] / voxels[entry["case_id"]])
    return median(rates) if rates else None


def estimated_seconds(cases: Iterable[RawCase], rate: float | None, num_processes: int = 1) -> float:
    """Wall time of the stage over cases, at `rate` seconds per raw voxel; starting the processes is a part of it."""
    voxels = sum(math.prod(case.size) for case in cases)
    work = voxels * (SECONDS_PER_VOXEL if rate is None else rate) / max(1, num_processes)
    return work + _START_SECONDS if voxels else 0.0
