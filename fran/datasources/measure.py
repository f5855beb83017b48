"""Read one case, once, and measure it. Runs in worker processes; everything here can be pickled."""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.datasources import statistics
from fran.datasources.grids import compare_grids
from fran.datasources.pairing import fix
from fran.datasources.records import CaseArrays, CaseFacts, FileStamp, Refusal
from fran.errors import CaseProblem, DataError
from fran.io.volume import LabelValueError, Volume, as_image, as_label_map, decode, unreadable

logger = logging.getLogger(__name__)

SAMPLE_VOXELS = 20_000
SWAPPED = "image and label map swapped"
MANY_LABELS = 64
"""A label map with more values than this, beside an image with few, is the image."""

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
        former: what an earlier scan made of it; where the digests still agree nothing is decoded again.
        folder: the datasource.
    """

    case_id: str
    image: Path
    lm: Path
    seed: int
    former: CaseFacts | Refusal | None = None
    folder: Path | None = None


@dataclass(frozen=True, eq=False)
class CaseResult:
    """Facts and arrays of a case, or why there are none.

    Attributes:
        case_id: the case.
        facts: None where the case is refused.
        arrays: None where the case is refused, or those of `CaseTask.former` still hold.
        problems: why it is refused.
        refusal: the same, where it follows from the bytes of the files and so holds until they change.
    """

    case_id: str
    facts: CaseFacts | None = None
    arrays: CaseArrays | None = None
    problems: tuple[CaseProblem, ...] = ()
    refusal: Refusal | None = None


def measure_case(task: CaseTask) -> CaseResult:
    """Read a pair, compare its grids and measure it. Never raises: whatever goes wrong becomes a problem."""
    try:
        return _measure(task)
    except MemoryError:
        return CaseResult(task.case_id, problems=(_out_of_memory(task),))
    except Exception as error:
        logger.exception("%s: unexpected error while reading %s and %s", task.case_id, task.image, task.lm)
        found = f"{type(error).__name__}: {error}"
        step = "report this as a bug of fran"
        problem = CaseProblem(task.case_id, str(task.image), "reading", "a pair that can be measured", found, step)
        return CaseResult(task.case_id, problems=(problem,))


def _measure(task: CaseTask) -> CaseResult:
    problems: list[CaseProblem] = []
    loaded = [_guarded(task, path, problems, _load, path) for path in (task.image, task.lm)]
    image, lm = loaded
    if image is None or lm is None:
        return CaseResult(task.case_id, problems=tuple(problems))
    stamps = image[0], lm[0]
    if task.former is not None and task.former.content == (stamps[0].digest, stamps[1].digest):
        return _still_holds(task.case_id, task.former, *stamps)
    volumes = [
        _guarded(task, path, problems, decode, path, content)
        for path, (_, content) in ((task.image, image), (task.lm, lm))
    ]
    del loaded, image, lm  # the bytes of both files
    found = _examine(task, volumes[0], volumes[1], problems)
    changed = [
        _changed(task.case_id, path)
        for path, stamp in zip((task.image, task.lm), stamps, strict=True)
        if not stamp.matches(path)
    ]
    if changed:
        return CaseResult(task.case_id, problems=tuple(changed))
    if problems or found is None:
        return CaseResult(task.case_id, problems=tuple(problems), refusal=Refusal(*stamps, tuple(problems)))
    facts, arrays = _facts(task, *found, *stamps)
    return CaseResult(task.case_id, facts, arrays)


def _guarded(
    task: CaseTask, path: Path, problems: list[CaseProblem], action: Callable[..., Any], *arguments: Any
) -> Any:
    """The action's result, or None after its error was added to `problems`."""
    try:
        return action(*arguments)
    except (OSError, DataError) as error:
        problems.append(_from_error(task, path, error))
        return None


def _load(path: Path) -> tuple[FileStamp, bytes]:
    """Stamp and bytes of a file, which is read this once: for its digest and for its voxels."""
    try:
        status = path.stat()
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected a file, found a directory") from error
    except OSError as error:
        raise unreadable(path, error) from error
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return FileStamp(status.st_size, status.st_mtime_ns, digest), content


def _still_holds(case_id: str, former: CaseFacts | Refusal, image: FileStamp, lm: FileStamp) -> CaseResult:
    if isinstance(former, Refusal):
        return CaseResult(case_id, problems=former.problems, refusal=replace(former, image_stamp=image, lm_stamp=lm))
    return CaseResult(case_id, replace(former, image_stamp=image, lm_stamp=lm))


def _examine(
    task: CaseTask, image: Volume | None, lm: Volume | None, problems: list[CaseProblem]
) -> tuple[Volume, Volume, statistics.Counts | None] | None:
    """Checked image, checked label map and the image's counts; None where something was added to `problems`."""
    n_before = len(problems)
    checked = image and _guarded(task, task.image, problems, as_image, image)
    label_map = lm and _guarded(task, task.lm, problems, as_label_map, lm)
    counts = statistics.count_whole_numbers(_flat(checked)) if checked else None
    if lm is not None and counts is not None and counts.looks_like_labels and _looks_like_an_image(label_map):
        problems[n_before:] = [_swapped(task)]
        return None
    if checked is None or label_map is None:
        return None
    problem = compare_grids(task.case_id, checked, label_map)
    if problem:
        problems.append(problem)
        return None
    return checked, label_map, counts


def _flat(volume: Volume, like: Volume | None = None) -> NDArray[Any]:
    """Voxels in the order in which `like` (by default the volume itself) is stored; where possible without a copy."""
    array: NDArray[Any] = (like or volume).reorientation.invert(volume.array).ravel(order="F")
    return array


def _looks_like_an_image(label_map: Volume | None) -> bool:
    """Whether a file of lms/ holds values that no label map has."""
    if label_map is None:
        return True
    flat = _flat(label_map)
    return int(np.count_nonzero(np.bincount(flat[flat > 0]))) > MANY_LABELS


def _facts(
    task: CaseTask,
    image: Volume,
    lm: Volume,
    counts: statistics.Counts | None,
    image_stamp: FileStamp,
    lm_stamp: FileStamp,
) -> tuple[CaseFacts, CaseArrays]:
    voxels, labels = _flat(image), _flat(lm, like=image)
    foreground = labels > 0
    per_label = np.bincount(labels[foreground])
    values = voxels[foreground]
    value_counts = statistics.count_whole_numbers(values) if counts is not None else None
    bins = statistics.bins_of_values(voxels) if counts is None else statistics.bins_of_counts(counts)
    layout = f"{image.grid.shape} {image.reorientation}"
    facts = CaseFacts(
        image_stamp=image_stamp,
        lm_stamp=lm_stamp,
        size=image.grid.shape,
        spacing_mm=image.grid.spacing_mm,
        orientation=image.native.orientation,
        lm_orientation=lm.native.orientation,
        affine_difference=float(np.abs(image.grid.affine - lm.grid.affine).max()),
        shift_mm=image.grid.max_distance_mm(lm.grid),
        labels={int(v): int(per_label[v]) for v in np.flatnonzero(per_label)},
        integer_valued=counts is not None or statistics.is_whole(voxels),
        image=_image_stats(voxels, counts, bins),
        foreground=_stats(values, value_counts) if values.size else None,
        image_content=statistics.image_content(image.array, bins),
        lm_content=statistics.lm_content(foreground, per_label, layout) if values.size else "",
    )
    return facts, CaseArrays(_sample(values, task), statistics.histogram(values, value_counts), bins)


def _image_stats(voxels: NDArray[Any], counts: statistics.Counts | None, bins: NDArray[np.float64]) -> Any:
    if counts is not None:
        return statistics.stats_of_counts(counts)
    return statistics.stats_of_bins(bins, float(voxels.min()), float(voxels.max()))


def _stats(values: NDArray[Any], counts: statistics.Counts | None) -> Any:
    return statistics.stats_of_values(values) if counts is None else statistics.stats_of_counts(counts)


def _sample(values: NDArray[Any], task: CaseTask) -> NDArray[np.float32]:
    # crc32 of the id: the sample depends on the case alone, not on its place in the list or on the worker
    rng = np.random.default_rng([task.seed, zlib.crc32(task.case_id.encode())])
    chosen = rng.choice(values.size, min(values.size, SAMPLE_VOXELS), replace=False)  # in random order
    return values[chosen].astype(np.float32)


def _from_error(task: CaseTask, path: Path, error: Exception) -> CaseProblem:
    """A reader's message, "<path>: [what:] expected …, found …; next step", as the parts of a problem."""
    text = str(error).removeprefix(f"{path}: ").strip()
    found = _MESSAGE.fullmatch(text)
    step = "repair or replace the file, or move the case out"
    if not found:
        said, _, hint = text.partition("; ")
        return CaseProblem(task.case_id, str(path), "file", "a readable 3-D volume", said, hint or step)
    parts = found.groupdict()
    step = parts["step"] or step
    if isinstance(error, LabelValueError):
        folder = task.folder or path.parents[1]
        step = f"map it to 0 or to a label of its own: {fix('relabel', folder, f'remapping={{{error.value}: 0}}')}"
    return CaseProblem(task.case_id, str(path), parts["what"] or "file", parts["expected"], parts["found"], step)


def _swapped(task: CaseTask) -> CaseProblem:
    found = f"a label map; {task.lm} looks like its image"
    image, lm = (shlex.quote(str(path)) for path in (task.image, task.lm))
    between = shlex.quote(f"{task.image}.between")
    step = f"exchange the two files: mv {image} {between} && mv {lm} {image} && mv {between} {lm}"
    return CaseProblem(task.case_id, str(task.image), SWAPPED, "an image", found, step)


def _out_of_memory(task: CaseTask) -> CaseProblem:
    size = sum(p.stat().st_size for p in (task.image, task.lm) if p.exists())
    found = f"too little memory for files of {size} bytes"
    step = "use fewer workers or a machine with more memory"
    return CaseProblem(task.case_id, str(task.image), "memory", "room for one case a worker", found, step)


def _changed(case_id: str, path: Path) -> CaseProblem:
    found = "a file that changed while it was read"
    return CaseProblem(case_id, str(path), "file", "bytes that stay", found, "scan again when it rests")
