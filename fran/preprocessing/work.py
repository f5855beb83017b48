"""One task of a stage: skip, adopt or make the files of one case."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fran.errors import CaseProblem, StoreError
from fran.io.casefile import CaseReader
from fran.io.manifest import ManifestEntry
from fran.preprocessing.sharing import linked
from fran.preprocessing.stages.stage import Job, Stage, case_file, part_file

Status = Literal["done", "adopted", "skipped"]
Entries = Mapping[str, ManifestEntry]


class StoreFullError(StoreError):
    """Nothing more can be written, so going on with other cases is of no use."""


@dataclass(frozen=True)
class Task:
    """One job and what a worker needs for it.

    Attributes:
        job: the case.
        stage: with its parameters.
        folder: of the case files.
        known: the case's entries in the manifest, by file id.
        elsewhere: another folder of the stage that lists the case under the same content address.
    """

    job: Job
    stage: Stage
    folder: Path
    known: Entries
    elsewhere: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task that did not fail."""

    status: Status
    entries: Entries
    notes: tuple[CaseProblem, ...]
    seconds: float


def is_current(entries: Entries, key: str, folder: Path) -> bool:
    """Whether the manifest knows files with this key and each still has the size it had."""
    return bool(entries) and all(_unchanged(entry, key, folder) for entry in entries.values())


def _unchanged(entry: ManifestEntry, key: str, folder: Path) -> bool:
    if entry.key != key:
        return False
    try:
        return (folder / entry.file).stat().st_size == entry.bytes
    except FileNotFoundError:
        return False


def work(task: Task) -> Outcome:
    """Make the case's files unless they are there and whole, or lie elsewhere and can be linked.

    Raises:
        FranError: the case cannot be made.
        StoreFullError: the disk is full, or may not be written to.
    """
    start = time.perf_counter()
    job = task.job.with_digests()
    key = task.stage.case_key(job)
    if is_current(task.known, key, task.folder):
        return Outcome("skipped", task.known, (), time.perf_counter() - start)
    try:
        whole = whole_files(task.folder, job.case_id, key) or _linked(task, key)
        if whole:
            return Outcome("adopted", _entries(whole, job), (), time.perf_counter() - start)
        made = task.stage.process(job, key, task.folder)
    except OSError as error:
        raise cannot_write(task.folder, error) from error
    return Outcome("done", _entries(made.files, job), made.notes, time.perf_counter() - start)


def _linked(task: Task, key: str) -> tuple[Path, ...]:
    if task.elsewhere is None:
        return ()
    return linked(whole_files(task.elsewhere, task.job.case_id, key), task.folder)


def cannot_write(folder: Path, error: OSError) -> StoreError:
    """The error for a user when ``folder`` cannot be written to."""
    text = str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in text
    forbidden = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    if full:
        step = "free space or put paths.cold and paths.rapid on larger disks, then run again: what is finished is kept"
        return StoreFullError(f"{folder}: expected room for case files, found a full disk ({text}); {step}")
    if forbidden:
        step = "give yourself write access, or choose other folders by paths.cold and paths.rapid"
        return StoreFullError(f"{folder}: expected a folder that can be written to, found: {text}; {step}")
    return StoreError(f"{folder}: a case file could not be written: {text}")


def whole_files(folder: Path, case_id: str, key: str) -> tuple[Path, ...]:
    """The case's files, if all are there with this key and the voxels that were written; else none."""
    single, first = case_file(folder, case_id), part_file(folder, case_id, 0)
    if _count(single, key) == 0:
        return (single,)
    count = _count(first, key) or 0
    paths = tuple(part_file(folder, case_id, number) for number in range(count))
    return paths if all(_count(path, key) == count for path in paths[1:]) else ()


def _count(path: Path, key: str) -> int | None:
    """Of how many parts of its case a whole file with this key is one, 0 if it is the only file; None for another."""
    if not path.exists():
        return None
    try:
        with CaseReader(path) as reader:
            if reader.meta.key != key:
                return None
            reader.verify()
            return int(reader.meta.geometry.get("part", (0, 0))[1])
    except StoreError:
        return None


def _entries(paths: tuple[Path, ...], job: Job) -> dict[str, ManifestEntry]:
    return {path.stem: _entry(path, job) for path in paths}


def _entry(path: Path, job: Job) -> ManifestEntry:
    with CaseReader(path) as reader:
        meta = reader.meta
    return ManifestEntry(
        file=path.name,
        key=meta.key,
        bytes=path.stat().st_size,
        shape=meta.shape,
        spacing_mm=meta.spacing_mm,
        labels=meta.labels,
        intensity=meta.intensity,
        modality=meta.modality,
        datasource=job.datasource,
        parent="" if path.stem == job.case_id else job.case_id,
    )
