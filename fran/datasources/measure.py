"""Read one case, once, and measure it. Runs in worker processes; everything here can be pickled."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.datasources.records import PERCENTILES, CaseArrays, CaseFacts, FileStamp, Stats
from fran.errors import CaseProblem, DataError
from fran.io.files import file_digest
from fran.io.volume import Volume, read_volume

logger = logging.getLogger(__name__)

SAMPLE_VOXELS = 20_000
HISTOGRAM_BINS = 256
IMAGE_BINS = 4096
TOLERANCE_VOXELS = 0.5
"""A label map may lie off its image by less than this part of the smallest voxel side: each of its voxels is then
still nearest to the image voxel it is paired with."""

_SLAB_VOXELS = 1 << 22
_MESSAGE = re.compile(
    r"(?:(?P<what>[\w -]+): )?expected (?P<expected>.*?), found:? (?P<found>.*?)(?:; (?P<step>.*))?", re.S
)


@dataclass(frozen=True)
class CaseTask:
    """One case to read.

    Attributes:
        case_id: names the case and, with `seed`, fixes its random sample.
        image: file.
        lm: file.
        seed: of the sample.
        former: facts of an earlier scan; where the digests still agree nothing is read again.
    """

    case_id: str
    image: Path
    lm: Path
    seed: int
    former: CaseFacts | None = None


@dataclass(frozen=True, eq=False)
class CaseResult:
    """Facts and arrays of a case, or why there are none. `arrays` is None where those of `former` still hold."""

    case_id: str
    facts: CaseFacts | None = None
    arrays: CaseArrays | None = None
    problems: tuple[CaseProblem, ...] = ()


def measure_case(task: CaseTask) -> CaseResult:
    """Read a pair, compare its grids and measure it. Never raises: whatever goes wrong becomes a problem."""
    try:
        stamps = stamp(task.image), stamp(task.lm)
        if task.former is not None and task.former.content == (stamps[0].digest, stamps[1].digest):
            return CaseResult(task.case_id, replace(task.former, image_stamp=stamps[0], lm_stamp=stamps[1]))
        return _measure(task, *stamps)
    except (OSError, DataError) as error:
        return CaseResult(task.case_id, problems=(_from_error(task.case_id, task.image, error),))
    except MemoryError:
        return CaseResult(task.case_id, problems=(_out_of_memory(task),))
    except Exception as error:
        logger.exception("%s: unexpected error while reading %s and %s", task.case_id, task.image, task.lm)
        found = f"{type(error).__name__}: {error}"
        problem = CaseProblem(
            task.case_id,
            str(task.image),
            "reading",
            "a pair that can be measured",
            found,
            "report this as a bug of fran",
        )
        return CaseResult(task.case_id, problems=(problem,))


def stamp(path: Path) -> FileStamp:
    """Size, modification time and digest of a file.

    Raises:
        DataError: it is no readable file.
    """
    try:
        status = path.stat()
        return FileStamp(status.st_size, status.st_mtime_ns, file_digest(path))
    except OSError as error:
        dangling = path.is_symlink() and not path.exists()
        found = "a link to a file that is not there" if dangling else error.strerror
        raise DataError(f"{path}: expected a readable file, found {found}; restore it or its permissions") from error


def _measure(task: CaseTask, image_stamp: FileStamp, lm_stamp: FileStamp) -> CaseResult:
    volumes: list[Volume] = []
    problems: list[CaseProblem] = []
    for path, is_lm in ((task.image, False), (task.lm, True)):
        try:
            volumes.append(read_volume(path, role="lm" if is_lm else "image"))
        except DataError as error:
            problems.append(_from_error(task.case_id, path, error))
    for path, before in ((task.image, image_stamp), (task.lm, lm_stamp)):
        if not before.matches(path):
            problems.append(_changed(task.case_id, path))
    if problems:
        return CaseResult(task.case_id, problems=tuple(problems))
    image, lm = volumes
    problem = compare_grids(task.case_id, image, lm)
    if problem:
        return CaseResult(task.case_id, problems=(problem,))
    facts, arrays = _facts(task, image, lm, image_stamp, lm_stamp)
    return CaseResult(task.case_id, facts, arrays)


def compare_grids(case_id: str, image: Volume, lm: Volume) -> CaseProblem | None:
    """The first property in which two grids, turned to RAS, differ too much to be paired.

    Order: size, spacing, direction, origin. A shift below `TOLERANCE_VOXELS` is not a problem here.
    """
    tolerance = TOLERANCE_VOXELS * min(image.grid.spacing_mm)
    if image.grid.shape == lm.grid.shape and image.grid.max_distance_mm(lm.grid) < tolerance:
        return None
    shift = np.round(lm.grid.affine[:3, 3] - image.grid.affine[:3, 3], 3)
    if image.grid.shape != lm.grid.shape:
        what = "size"
    elif not np.allclose(image.grid.spacing_mm, lm.grid.spacing_mm, rtol=1e-3):
        what = "spacing"
    elif image.native.orientation != lm.native.orientation:
        what = "orientation"
    elif not np.allclose(_directions(image), _directions(lm), atol=1e-3):
        what = "direction"
    else:
        what = f"origin, off by {shift.tolist()} mm (limit {tolerance:.3g} mm in all)"
    step = "find out which of the two is right; export or resample the label map on the image's grid"
    return CaseProblem(
        case_id, str(lm.path), f"label map grid: {what}", f"{image.native} as {image.path}", str(lm.native), step
    )


def _directions(volume: Volume) -> NDArray[np.float64]:
    return np.asarray(volume.grid.affine[:3, :3] / np.array(volume.grid.spacing_mm))


def _facts(
    task: CaseTask, image: Volume, lm: Volume, image_stamp: FileStamp, lm_stamp: FileStamp
) -> tuple[CaseFacts, CaseArrays]:
    integer_valued = _integer_valued(image.array)
    low, high = float(image.array.min()), float(image.array.max())
    bins = _bins(image.array, low, high, integer_valued)
    values = image.array[lm.array > 0].astype(np.float64)
    counts = np.bincount(lm.array.ravel(order="K"))
    facts = CaseFacts(
        image_stamp=image_stamp,
        lm_stamp=lm_stamp,
        size=image.grid.shape,
        spacing_mm=image.grid.spacing_mm,
        orientation=image.native.orientation,
        lm_orientation=lm.native.orientation,
        affine_difference=float(np.abs(image.grid.affine - lm.grid.affine).max()),
        shift_mm=image.grid.max_distance_mm(lm.grid),
        labels={int(v): int(counts[v]) for v in np.flatnonzero(counts) if v},
        integer_valued=integer_valued,
        image=_image_stats(bins, low, high),
        foreground=_stats(values) if values.size else None,
    )
    histogram = np.histogram(values, HISTOGRAM_BINS)[0] if values.size else np.zeros(HISTOGRAM_BINS)
    return facts, CaseArrays(_sample(values, task), histogram.astype(np.int64), bins)


def _sample(values: NDArray[np.float64], task: CaseTask) -> NDArray[np.float32]:
    if values.size > SAMPLE_VOXELS:
        # crc32 of the id: the sample depends on the case alone, not on its place in the list or on the worker
        rng = np.random.default_rng([task.seed, zlib.crc32(task.case_id.encode())])
        values = values[np.sort(rng.choice(values.size, SAMPLE_VOXELS, replace=False))]
    return values.astype(np.float32)


def _stats(values: NDArray[np.float64]) -> Stats:
    percentiles = dict(zip(map(str, PERCENTILES), map(float, np.percentile(values, PERCENTILES)), strict=True))
    return Stats(
        values.size, float(values.mean()), float(values.std()), float(values.min()), float(values.max()), percentiles
    )


def _slabs(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return iter(np.array_split(array, min(array.shape[0], -(-array.size // _SLAB_VOXELS)), axis=0))


def _integer_valued(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "iub" or all(bool((slab == np.rint(slab)).all()) for slab in _slabs(array))


def _bins(array: NDArray[Any], low: float, high: float, integer_valued: bool) -> NDArray[np.float64]:
    """`CaseArrays.bins` of an image; works on slabs, so that no float64 copy of the image is made."""
    exact = integer_valued and high - low < IMAGE_BINS
    n = int(high - low) + 1 if exact else IMAGE_BINS
    width = 1.0 if exact or high == low else (high - low) / n
    table = np.zeros((4, n))
    table[0] = low + width * np.arange(n)
    for slab in _slabs(array):
        values = slab.astype(np.float64).ravel()
        index = np.minimum(((values - low) / width).astype(np.int64), n - 1)
        table[1] += np.bincount(index, minlength=n)
        table[2] += np.bincount(index, weights=values, minlength=n)
        table[3] += np.bincount(index, weights=values * values, minlength=n)
    return table


def _image_stats(bins: NDArray[np.float64], low: float, high: float) -> Stats:
    counts = bins[1]
    n = int(counts.sum())
    mean = float(bins[2].sum() / n)
    std = float(np.sqrt(max(bins[3].sum() / n - mean * mean, 0.0)))
    used = counts > 0
    centres = bins[2][used] / counts[used]
    ranks = np.cumsum(counts[used]) - 1
    percentiles = {str(p): float(centres[np.searchsorted(ranks, p / 100 * (n - 1))]) for p in PERCENTILES}
    return Stats(n, mean, std, low, high, percentiles)


def _from_error(case_id: str, path: Path, error: Exception) -> CaseProblem:
    """A reader's message, "<path>: [what:] expected …, found …; next step", as the parts of a problem."""
    text = str(error).removeprefix(f"{path}: ").strip()
    found = _MESSAGE.fullmatch(text)
    step = "repair or replace the file, or move the case out"
    if not found:
        return CaseProblem(case_id, str(path), "file", "a readable 3-D volume", text, step)
    parts = found.groupdict()
    return CaseProblem(
        case_id, str(path), parts["what"] or "file", parts["expected"], parts["found"], parts["step"] or step
    )


def _out_of_memory(task: CaseTask) -> CaseProblem:
    size = sum(p.stat().st_size for p in (task.image, task.lm) if p.exists())
    found = f"too little memory for files of {size} bytes"
    step = "use fewer workers or a machine with more memory"
    return CaseProblem(task.case_id, str(task.image), "memory", "room for one case a worker", found, step)


def _changed(case_id: str, path: Path) -> CaseProblem:
    return CaseProblem(
        case_id,
        str(path),
        "file",
        "bytes that stay",
        "a file that changed while it was read",
        "scan again when it rests",
    )
