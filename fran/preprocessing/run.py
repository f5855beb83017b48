"""Run a stage over many cases: resumable, in several processes, one bad case does not stop the others."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from fran.errors import CaseProblem, CasesFailed, DataError, StoreError
from fran.io.manifest import MANIFEST_NAME, Manifest, ManifestEntry
from fran.parallel.jobs import Execute, Failure
from fran.parallel.local import run_jobs
from fran.preprocessing.sharing import listed_keys
from fran.preprocessing.stages.stage import Job, Stage
from fran.preprocessing.summary import SUMMARY_FILES, write_summaries
from fran.preprocessing.work import Entries, Outcome, StoreFullError, Task, cannot_write, is_current, work

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
        adopted: cases whose files were there and whole, but not in the manifest, or were linked from another folder.
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
    stage: Stage
    before: dict[str, Entries]
    also_listed: frozenset[str]
    beside: tuple[Path, ...] = ()
    finished: dict[str, Entries] = field(default_factory=dict)
    problems: list[CaseProblem] = field(default_factory=list)
    notes: list[CaseProblem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def run_stage(
    cases: Sequence[Job],
    stage: Stage,
    folder: Path,
    num_processes: int = 1,
    progress: ProgressCallback | None = None,
    also_listed: Collection[str] = (),
    execute: Execute = run_jobs,
    beside: Sequence[Path] = (),
) -> Summary:
    """Bring a stage's folder up to date with the cases.

    A case whose content address and file sizes match the manifest is skipped without being opened. Files that are not
    in the manifest (after a crash, say) are adopted when their key matches and their voxels are those written. All else
    is made anew. Files are replaced whole and never deleted; two runs on one folder do no harm to each other.

    Beside the case files the folder holds ``manifest.json``, ``dataset_summary.json``, ``labels_all.json``,
    ``dataset_details.csv`` and ``log.jsonl``.

    Args:
        cases: ids unique.
        stage: with its parameters, e.g. :class:`fran.preprocessing.stages.source.SourceParams`.
        folder: made if missing, conventionally :func:`fran.preprocessing.stages.stage.folder_of`.
        num_processes: 1 works in this process.
        progress: called with (finished, total, case id) at the start (with an empty id) and after each case.
        also_listed: ids that stay in the manifest though this run has no such case; others are taken off it.
        execute: how tasks are run; a cluster's map can take the place of local processes.
        beside: folders of the same stage with other parameters. Files in them whose content address is the one wanted
            are linked.

    Raises:
        CasesFailed: some cases failed; the others are done and in the manifest.
        DataError: an id occurs twice.
        StoreError: the folder belongs to other parameters, cannot be written to, or the disk is full.
    """
    start = time.perf_counter()
    _check_ids(cases)
    folder = Path(folder).resolve()
    known = known_cases(folder, stage)
    run = _Run(folder, stage, known, frozenset(also_listed) - {job.case_id for job in cases}, tuple(beside))
    tasks = _tasks_left(run, cases)
    report = progress or _no_progress
    report(len(cases) - len(tasks), len(cases), "")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _work_off(run, tasks, execute(work, tasks, num_processes), len(cases), report)
        _save(run, summaries=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return _result(run, time.perf_counter() - start)


def _work_off(
    run: _Run,
    tasks: Sequence[Task],
    outcomes: Iterable[tuple[int, Outcome | Failure]],
    total: int,
    report: ProgressCallback,
) -> None:
    last_save = time.perf_counter()
    for number, (index, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Failure) and outcome.kind == StoreFullError.__name__:
            with suppress(OSError):  # the disk may be too full for a manifest; finished files are adopted next time
                _save(run)
            raise StoreFullError(outcome.message)
        _record(run, tasks[index].job, outcome)
        report(total - len(tasks) + number, total, tasks[index].job.case_id)
        if time.perf_counter() - last_save > _SAVE_SECONDS:
            _save(run)
            last_save = time.perf_counter()


def _no_progress(finished: int, total: int, case_id: str) -> None:
    """Stands in where nobody watches."""


def _check_ids(cases: Sequence[Job]) -> None:
    twice = sorted(case_id for case_id, n in Counter(job.case_id for job in cases).items() if n > 1)
    if twice:
        raise DataError(f"case ids: expected each once, found {', '.join(twice[:10])} more than once; rename the files")


def known_cases(folder: Path, stage: Stage) -> dict[str, Entries]:
    """Entries of the manifest in the folder by case; none when there is none, or when it cannot be read."""
    try:
        manifest = Manifest.load(folder)
    except StoreError:
        return {}  # case files that are whole are adopted, which makes a damaged manifest good again
    if manifest.key != stage.key():
        raise StoreError(
            f"{folder / MANIFEST_NAME}: expected stage key {stage.key()} for the parameters {stage.to_dict()},"
            f" found {manifest.key} for {manifest.params}; choose a folder of its own for these parameters"
        )
    return _by_case(manifest)


def _by_case(manifest: Manifest) -> dict[str, Entries]:
    return {c: {f: manifest.cases[f] for f in files} for c, files in manifest.files_by_case().items()}


def _tasks_left(run: _Run, cases: Sequence[Job]) -> list[Task]:
    """Tasks for the cases that the manifest does not settle; the others are finished at once."""
    tasks = []
    for job in cases:
        known = run.before.get(job.case_id, {})
        if any(entry.datasource != job.datasource for entry in known.values()):
            known = {f: replace(entry, datasource=job.datasource) for f, entry in known.items()}
        if known and job.has_digests and is_current(known, run.stage.case_key(job), run.folder):
            run.finished[job.case_id] = known
            run.counts["skipped"] += 1
        else:
            tasks.append(Task(job, run.stage, run.folder, known))
    return _with_elsewhere(run, tasks) if tasks and run.beside else tasks


def _with_elsewhere(run: _Run, tasks: Sequence[Task]) -> list[Task]:
    keys = listed_keys(run.beside, run.stage.name)
    return [replace(t, elsewhere=keys.get(run.stage.case_key(t.job))) if t.job.has_digests else t for t in tasks]


def _record(run: _Run, job: Job, outcome: Outcome | Failure) -> None:
    if isinstance(outcome, Failure):
        run.counts["failed"] += 1
        run.problems.append(_problem(job, outcome))
        _log(run.folder, {"case_id": job.case_id, "status": "failed", "image": str(job.image), **asdict(outcome)})
        return
    run.counts[outcome.status] += 1
    run.finished[job.case_id] = outcome.entries
    run.notes.extend(outcome.notes)
    if outcome.status != "skipped":
        notes = [asdict(note) for note in outcome.notes]
        line = {"case_id": job.case_id, "status": outcome.status, "seconds": round(outcome.seconds, 3), "notes": notes}
        _log(run.folder, line)


def _problem(job: Job, failure: Failure) -> CaseProblem:
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
    """Bring the manifest up to date; a folder that is so already is not written to, and may be read-only."""
    on_disk, merged = _merged(run)
    complete = not summaries or all((run.folder / name).is_file() for name in SUMMARY_FILES)
    if on_disk is not None and merged.cases == on_disk.cases and complete:
        return
    with _locked(run.folder):
        on_disk, merged = _merged(run)
        changed = on_disk is None or merged.cases != on_disk.cases
        if changed:
            merged.save()
        if summaries and (changed or not complete):
            write_summaries(merged)


def _merged(run: _Run) -> tuple[Manifest | None, Manifest]:
    """The manifest on disk, and it with the finished cases: another run may have written it meanwhile."""
    try:
        on_disk = Manifest.load(run.folder)
    except StoreError:
        on_disk = None
    theirs = _by_case(on_disk) if on_disk else {}
    kept = {c: e for c, e in theirs.items() if c in run.also_listed or run.before.get(c) != e}
    files: dict[str, ManifestEntry] = {}
    for entries in (kept | run.finished).values():
        files.update(entries)
    return on_disk, Manifest(run.folder, run.stage.name, run.stage.to_dict(), run.stage.key(), files)


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
