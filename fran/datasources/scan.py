"""Scan a datasource: read what is new or changed, judge everything, keep what is good."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fran.datasources import checks, store
from fran.datasources.judging import ScanSettings, judge
from fran.datasources.measure import SWAPPED, CaseResult, CaseTask, measure_case
from fran.datasources.pairing import Pair, Pairing
from fran.datasources.records import CaseFacts, CaseRecord, Refusal
from fran.datasources.store import Index, StoredCase
from fran.errors import CaseProblem, CasesFailed, Severity, StoreError
from fran.parallel.jobs import Execute, Failure
from fran.parallel.local import run_jobs
from fran.parallel.progress import shown

logger = logging.getLogger(__name__)

BYTES_PER_WORKER = 16 << 20
"""A worker takes about a second to start, in which one process reads this much."""

FOLDERS_FIRST = "exchange the folders, as said of the datasource"
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


@dataclass
class ScanReport:
    """Outcome of a scan.

    Attributes:
        datasource: its name.
        records: good cases in order of case id.
        problems: everything found, of every severity, in one list.
        n_read: cases whose files were decoded.
        n_reused: cases of which everything was known, refused ones included.
        store: folder of the fg_voxels.h5.
    """

    datasource: str
    store: Path
    records: list[CaseRecord] = field(default_factory=list)
    problems: list[CaseProblem] = field(default_factory=list)
    n_read: int = 0
    n_reused: int = 0

    @property
    def errors(self) -> list[CaseProblem]:
        """Problems that leave a case, or the datasource, out."""
        return [p for p in self.problems if p.severity == "error"]

    @property
    def ok(self) -> bool:
        """Whether nothing had to be left out."""
        return not self.errors

    @property
    def verdicts(self) -> dict[str, str]:
        """Case id to ``"ok"``, ``"note"``, ``"warning"`` or ``"error"``, whichever of its problems is the worst."""
        verdicts = {record.case_id: "ok" for record in self.records}
        for severity in SEVERITIES:
            cases = (p.case_id for p in self.problems if p.severity == severity and p.case_id != self.datasource)
            verdicts |= dict.fromkeys(cases, severity)
        return dict(sorted(verdicts.items()))

    def raise_for_errors(self) -> None:
        """Raise `CasesFailed` with every error, where there is one."""
        if self.errors:
            raise CasesFailed(f"datasource {self.datasource}: {len(self.errors)} errors", self.errors)


def scan(
    settings: ScanSettings,
    pairing: Pairing,
    store_folder: Path,
    num_workers: int,
    progress: bool,
    execute: Execute = run_jobs,
) -> ScanReport:
    """Scan the pairs of a datasource and bring its fg_voxels.h5 up to date."""
    report = ScanReport(settings.name, store_folder, problems=list(pairing.problems))
    pairs = {pair.case_id: pair for pair in pairing.pairs}
    with store.locked(store_folder, lambda: logger.warning("%s: waiting for another scan", settings.name)):
        former, index = _former(settings.name, store_folder, report), Index()
        _note_removed(settings, former, pairs, report)
        known = former.cases | store.strays(store_folder, former)
        tasks = _settle(settings, pairs, known, former.refused, index, store_folder)
        report.n_reused = len(index.cases) + len(index.refused)
        problems = [p for refusal in index.refused.values() for p in refusal.problems]
        try:
            for result in shown(_results(tasks, num_workers, execute), len(tasks), f"scan {settings.name}", progress):
                problems += result.problems
                _take(result, known, index, report)
        finally:  # an interruption keeps what was measured until then
            if (index.cases, index.refused) != (former.cases, former.refused):
                store.write_index(store_folder, index)
    folders = checks.swapped_folders(settings.name, settings.folder, problems, len(pairs))
    if folders:
        problems = [replace(p, next_step=FOLDERS_FIRST) if p.what == SWAPPED else p for p in problems]
    report.problems += [*folders, *sorted(problems, key=lambda p: p.case_id)]  # processes finish in any order
    report.records, judged = judge(settings, [(pairs[c], index.cases[c].facts) for c in sorted(index.cases)])
    report.problems += judged
    if folders:
        report.records = []
    return _strictly(report) if settings.strict else report


def _former(source: str, folder: Path, report: ScanReport) -> Index:
    try:
        return store.read_index(folder)
    except StoreError as error:
        path = str(store.store_path(folder))
        found = str(error).removeprefix(f"{path}: ")
        step = "nothing, it was rebuilt"
        report.problems.append(CaseProblem(source, path, "statistics", "a file of this version", found, step, "note"))
        return Index()


def _note_removed(settings: ScanSettings, former: Index, pairs: Mapping[str, Pair], report: ScanReport) -> None:
    gone = sorted(former.cases.keys() - pairs.keys())
    if gone:
        found = f"{len(gone)} cases of the last scan no longer there: {', '.join(gone[:10])}{', …' * (len(gone) > 10)}"
        step = "restore the files, unless they were removed on purpose"
        where, expected = str(settings.folder), "every case of the last scan"
        report.problems.append(CaseProblem(settings.name, where, "removed cases", expected, found, step, "note"))


def _settle(
    settings: ScanSettings,
    pairs: Mapping[str, Pair],
    known: Mapping[str, StoredCase],
    refused: Mapping[str, Refusal],
    index: Index,
    folder: Path,
) -> list[CaseTask]:
    """Put what is known of unchanged files into `index`; tasks for the others."""
    tasks = []
    for case_id, pair in pairs.items():
        case, refusal = known.get(case_id), refused.get(case_id)
        if case is not None and not store.is_whole(folder, case):
            case = None
        if case is not None and _unchanged(case.facts, pair):
            index.cases[case_id] = case
        elif refusal is not None and _unchanged(refusal, pair):
            index.refused[case_id] = refusal
        else:
            former = case.facts if case is not None else refusal
            tasks.append(CaseTask(case_id, pair.image, pair.lm, settings.seed, former, pair.folder))
    return tasks


def _unchanged(facts: CaseFacts | Refusal, pair: Pair) -> bool:
    return facts.image_stamp.matches(pair.image) and facts.lm_stamp.matches(pair.lm)


def _results(tasks: Sequence[CaseTask], num_workers: int, execute: Execute) -> Iterator[CaseResult]:
    if execute is run_jobs:
        n_bytes = sum(path.stat().st_size for task in tasks for path in (task.image, task.lm) if path.is_file())
        num_workers = min(num_workers, 1 + n_bytes // BYTES_PER_WORKER)
    for index, result in execute(measure_case, tasks, num_workers):
        yield _died(tasks[index], result) if isinstance(result, Failure) else result


def _died(task: CaseTask, failure: Failure) -> CaseResult:
    step = "scan again with fewer workers; finished cases are not read again"
    problem = CaseProblem(task.case_id, str(task.image), "reading", "a worker that lives", failure.message, step)
    return CaseResult(task.case_id, problems=(problem,))


def _take(result: CaseResult, known: Mapping[str, StoredCase], index: Index, report: ScanReport) -> None:
    """Keep what a worker found; a measured case is safe on disk when this returns."""
    case_id, facts = result.case_id, result.facts
    if facts is not None and result.arrays is None:
        index.cases[case_id] = replace(known[case_id], facts=facts)
        report.n_reused += 1
        return
    report.n_read += 1
    if facts is not None and result.arrays is not None:
        index.cases[case_id] = store.add_case(report.store, case_id, facts, result.arrays)
    elif result.refusal is not None:
        index.refused[case_id] = result.refusal


def _strictly(report: ScanReport) -> ScanReport:
    """The report with warnings as errors, without the cases that they are about."""
    problems = [replace(p, severity="error") if p.severity == "warning" else p for p in report.problems]
    refused = {p.case_id for p in problems if p.severity == "error"}
    records = [r for r in report.records if r.case_id not in refused and report.datasource not in refused]
    return replace(report, problems=problems, records=records)
