"""Run a stage over many cases: resumable, in several processes, one bad case does not stop the others."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from fran.errors import CaseProblem, CasesFailed, DataError, StoreError
from fran.io.manifest import MANIFEST_NAME, Manifest, ManifestEntry
from fran.parallel.jobs import Execute, Failure
from fran.parallel.local import run_jobs
from fran.preprocessing.source import CaseJob
from fran.preprocessing.summary import SUMMARY_FILES, write_summaries
from fran.preprocessing.work import Outcome, StageParams, Task, is_current, work

LOG_NAME = "log.jsonl"
LOCK_NAME = ".lock"
_SAVE_SECONDS = 30.0

ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        done: cases made.
        skipped: cases that the manifest knew and that needed nothing.
        adopted: cases whose file was there and whole, but not in the manifest.
        failed: cases left out.
        seconds: wall time.
        folder: of the manifest.
        notes: notes and warnings about the cases made.
    """

    done: int
    skipped: int
    adopted: int
    failed: int
    seconds: float
    folder: Path
    notes: tuple[CaseProblem, ...] = ()


@dataclass
class _Run:
    """State of one run."""

    folder: Path
    params: StageParams
    before: dict[str, ManifestEntry]
    also_listed: frozenset[str]
    finished: dict[str, ManifestEntry] = field(default_factory=dict)
    problems: list[CaseProblem] = field(default_factory=list)
    notes: list[CaseProblem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def run_stage(
    cases: Sequence[CaseJob],
    params: StageParams,
    folder: Path,
    num_processes: int = 1,
    progress: ProgressCallback | None = None,
    also_listed: Collection[str] = (),
    execute: Execute = run_jobs,
) -> Summary:
    """Bring a stage's folder up to date with the cases.

    A case whose content address and file size match the manifest is skipped without being opened. A file that is not
    in the manifest (after a crash, say) is adopted when its key matches and its voxels are those written. All else is
    made anew. Files are replaced whole and never deleted; two runs on one folder do no harm to each other.

    Beside the case files the folder holds ``manifest.json``, ``dataset_summary.json``, ``labels_all.json``,
    ``dataset_details.csv`` and ``log.jsonl``.

    Args:
        cases: raw cases, ids unique.
        params: stage and its parameters, e.g. :class:`fran.preprocessing.source.SourceParams`.
        folder: made if missing, conventionally named by :func:`fran.preprocessing.keys.folder_name`.
        num_processes: 1 works in this process.
        progress: called with (finished, total, case id) at the start (with an empty id) and after each case.
        also_listed: ids that stay in the manifest though this run has no such case; others are taken off it.
        execute: how tasks are run; a cluster's map can take the place of local processes.

    Raises:
        CasesFailed: some cases failed; the others are done and in the manifest.
        DataError: an id occurs twice.
        StoreError: the folder belongs to other parameters.
    """
    start = last_save = time.perf_counter()
    _check_ids(cases)
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(folder, params, _known_cases(folder, params), frozenset(also_listed) - {job.case_id for job in cases})
    tasks = _tasks_left(run, cases)
    report = progress or _no_progress
    report(len(cases) - len(tasks), len(cases), "")
    for number, (index, outcome) in enumerate(execute(work, tasks, num_processes), start=1):
        _record(run, tasks[index].job, outcome)
        report(len(cases) - len(tasks) + number, len(cases), tasks[index].job.case_id)
        if time.perf_counter() - last_save > _SAVE_SECONDS:
            _save(run)
            last_save = time.perf_counter()
    _save(run, summaries=True)
    return _result(run, time.perf_counter() - start)


def _no_progress(finished: int, total: int, case_id: str) -> None:
    """Stands in where nobody watches."""


def _check_ids(cases: Sequence[CaseJob]) -> None:
    twice = sorted(case_id for case_id, n in Counter(job.case_id for job in cases).items() if n > 1)
    if twice:
        raise DataError(f"case ids: expected each once, found {', '.join(twice[:10])} more than once; rename the files")


def _known_cases(folder: Path, params: StageParams) -> dict[str, ManifestEntry]:
    """Entries of the manifest in the folder; none when there is none, or when it cannot be read."""
    try:
        manifest = Manifest.load(folder)
    except StoreError:
        return {}  # case files that are whole are adopted, which makes a damaged manifest good again
    if manifest.key != params.key():
        raise StoreError(
            f"{folder / MANIFEST_NAME}: expected stage key {params.key()} for the parameters {params.to_dict()},"
            f" found {manifest.key} for {manifest.params}; choose a folder of its own for these parameters"
        )
    return manifest.cases


def _tasks_left(run: _Run, cases: Sequence[CaseJob]) -> list[Task]:
    """Tasks for the cases that the manifest does not settle; the others are finished at once."""
    tasks = []
    for job in cases:
        entry = run.before.get(job.case_id)
        if entry is not None and entry.datasource != job.datasource:
            entry = replace(entry, datasource=job.datasource)
        known_digests = job.image_digest and job.lm_digest
        if entry is not None and known_digests and is_current(entry, run.params.case_key(job), run.folder):
            run.finished[job.case_id] = entry
            run.counts["skipped"] += 1
        else:
            tasks.append(Task(job, run.params, run.folder, entry))
    return tasks


def _record(run: _Run, job: CaseJob, outcome: Outcome | Failure) -> None:
    if isinstance(outcome, Failure):
        run.counts["failed"] += 1
        run.problems.append(_problem(job, outcome))
        _log(run.folder, {"case_id": job.case_id, "status": "failed", "image": str(job.image), **asdict(outcome)})
        return
    run.counts[outcome.status] += 1
    run.finished[job.case_id] = outcome.entry
    run.notes.extend(outcome.notes)
    if outcome.status != "skipped":
        notes = [asdict(note) for note in outcome.notes]
        line = {"case_id": job.case_id, "status": outcome.status, "seconds": round(outcome.seconds, 3), "notes": notes}
        _log(run.folder, line)


def _problem(job: CaseJob, failure: Failure) -> CaseProblem:
    return CaseProblem(
        case_id=job.case_id,
        path=str(job.image),
        what=failure.kind,
        expected="a case that can be preprocessed",
        found=failure.message,
        next_step=f"correct or leave out the case and run again; the traceback is in {LOG_NAME}",
    )


def _log(folder: Path, line: dict[str, object]) -> None:
    stamped = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **line}
    with (folder / LOG_NAME).open("a", encoding="utf-8") as stream:  # one short append a line: runs do not mix
        stream.write(json.dumps(stamped) + "\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / LOCK_NAME).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _save(run: _Run, summaries: bool = False) -> None:
    """Merge the finished cases into the manifest on disk, which another run may have written meanwhile."""
    with _locked(run.folder):
        try:
            on_disk = Manifest.load(run.folder)
        except StoreError:
            on_disk = None
        theirs = on_disk.cases if on_disk else {}
        kept = {c: e for c, e in theirs.items() if c in run.also_listed or run.before.get(c) != e}
        merged = Manifest(
            run.folder, run.params.stage, run.params.to_dict(), run.params.key(), {**kept, **run.finished}
        )
        changed = on_disk is None or merged.cases != on_disk.cases
        if changed:
            merged.save()
        if summaries and (changed or not all((run.folder / name).is_file() for name in SUMMARY_FILES)):
            write_summaries(merged)


def _result(run: _Run, seconds: float) -> Summary:
    c = run.counts
    if run.problems:
        problems = sorted(run.problems, key=lambda p: p.case_id)
        raise CasesFailed(
            f"{c['failed']} of {c.total()} cases could not be preprocessed;"
            f" {c['done']} made, {c['adopted']} adopted, {c['skipped']} skipped, all in {run.folder / MANIFEST_NAME}",
            problems,
        )
    return Summary(c["done"], c["skipped"], c["adopted"], c["failed"], seconds, run.folder, tuple(run.notes))
