"""One task of a stage: skip, adopt or make one case file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from fran.errors import CaseProblem, StoreError
from fran.io.casefile import CaseMeta, CaseReader
from fran.io.manifest import ManifestEntry
from fran.preprocessing.source import CaseJob

Status = Literal["done", "adopted", "skipped"]


class StageParams(Protocol):
    """Parameters of a stage that makes one case file of one raw case."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able parameters."""

    def key(self) -> str:
        """Content address of the stage."""

    def case_key(self, job: CaseJob) -> str:
        """Content address of one case whose digests are known."""

    def process(self, job: CaseJob, key: str, path: Path) -> list[CaseProblem]:
        """Write the case file; returns notes."""


@dataclass(frozen=True)
class Task:
    """One job and what a worker needs for it.

    Attributes:
        job: the raw case.
        params: of the stage.
        folder: of the case file.
        known: the case's entry in the manifest, if it has one.
    """

    job: CaseJob
    params: StageParams
    folder: Path
    known: ManifestEntry | None


@dataclass(frozen=True)
class Outcome:
    """What became of a task that did not fail."""

    status: Status
    entry: ManifestEntry
    notes: tuple[CaseProblem, ...]
    seconds: float


def case_file(folder: Path, case_id: str) -> Path:
    """Where a case's file lies."""
    return folder / f"{case_id}.h5"


def is_current(entry: ManifestEntry | None, key: str, folder: Path) -> bool:
    """Whether the manifest knows a file with this key and the file still has the size it had."""
    if entry is None or entry.key != key:
        return False
    try:
        return (folder / entry.file).stat().st_size == entry.bytes
    except FileNotFoundError:
        return False


def work(task: Task) -> Outcome:
    """Make the case file unless it is there and whole.

    Raises:
        FranError: the raw case cannot be used.
    """
    start = time.perf_counter()
    job = task.job.with_digests()
    key = task.params.case_key(job)
    path = case_file(task.folder, job.case_id)
    if task.known is not None and is_current(task.known, key, task.folder):
        return Outcome("skipped", task.known, (), time.perf_counter() - start)
    if _is_whole(path, key):
        return Outcome("adopted", _entry(path, job), (), time.perf_counter() - start)
    notes = task.params.process(job, key, path)
    return Outcome("done", _entry(path, job), tuple(notes), time.perf_counter() - start)


def _is_whole(path: Path, key: str) -> bool:
    if not path.exists():
        return False
    try:
        with CaseReader(path) as reader:
            if reader.meta.key != key:
                return False
            reader.verify()
    except StoreError:
        return False
    return True


def _entry(path: Path, job: CaseJob) -> ManifestEntry:
    with CaseReader(path) as reader:
        meta: CaseMeta = reader.meta
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
    )
