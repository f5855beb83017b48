"""Scan a datasource: read what is new or changed, judge everything, keep what is good."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from fran.datasources import checks, store
from fran.datasources.measure import CaseResult, CaseTask, measure_case
from fran.datasources.pairing import Pair, Pairing
from fran.datasources.records import CaseFacts, CaseRecord
from fran.errors import CaseProblem, CasesFailed, StoreError
from fran.parallel.jobs import Execute, Failure
from fran.parallel.local import run_jobs

BYTES_PER_WORKER = 16 << 20
"""A worker takes about a second to start, in which one process reads this much."""


@dataclass
class ScanReport:
    """Outcome of a scan.

    Attributes:
        datasource: its name.
        records: good cases in order of case id.
        problems: everything found, of every severity, in one list.
        n_read: cases whose files were read.
        n_reused: cases whose stored facts still held.
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

    def raise_for_errors(self) -> None:
        """Raise `CasesFailed` with every error, where there is one."""
        if self.errors:
            raise CasesFailed(f"datasource {self.datasource}: {len(self.errors)} errors", self.errors)


@dataclass(frozen=True)
class ScanSettings:
    """What a scan needs to know of its datasource; see `fran.datasources.datasource.Datasource`."""

    name: str
    folder: Path
    labels: Mapping[int, str] | None
    modality: str | None
    patient_pattern: str | None
    seed: int = 0


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
    former = _former_facts(settings.name, store_folder, report)
    pairs = {pair.case_id: pair for pair in pairing.pairs}
    _note_removed(settings, former, pairs, report)
    facts = {c: former[c] for c, p in pairs.items() if c in former and _unchanged(former[c], p)}
    report.n_reused = len(facts)
    tasks = [CaseTask(c, p.image, p.lm, settings.seed, former.get(c)) for c, p in pairs.items() if c not in facts]
    if tasks or former.keys() - pairs.keys():
        _read(tasks, facts, report, _results(tasks, num_workers, execute), progress)
    _judge(settings, [(pairs[c], facts[c]) for c in sorted(facts)], report)
    return report


def _unchanged(facts: CaseFacts, pair: Pair) -> bool:
    return facts.image_stamp.matches(pair.image) and facts.lm_stamp.matches(pair.lm)


def _former_facts(source: str, folder: Path, report: ScanReport) -> dict[str, CaseFacts]:
    try:
        return store.read_facts(folder)
    except StoreError as error:
        path = str(store.store_path(folder))
        found = str(error).removeprefix(f"{path}: ")
        report.problems.append(
            CaseProblem(
                source, path, "statistics", "a file of this version", found, "nothing, it was rebuilt", "warning"
            )
        )
        return {}


def _note_removed(
    settings: ScanSettings, former: Mapping[str, CaseFacts], pairs: Mapping[str, Pair], report: ScanReport
) -> None:
    gone = sorted(former.keys() - pairs.keys())
    if gone:
        found = f"{len(gone)} cases of the last scan no longer there: {', '.join(gone[:10])}{', …' * (len(gone) > 10)}"
        step = "restore the files, unless they were removed on purpose"
        report.problems.append(
            CaseProblem(
                settings.name, str(settings.folder), "removed cases", "every case of the last scan", found, step, "note"
            )
        )


def _read(
    tasks: Sequence[CaseTask],
    facts: dict[str, CaseFacts],
    report: ScanReport,
    results: Iterator[CaseResult],
    progress: bool,
) -> None:
    """Measure `tasks`, add their facts, and write the file anew. An interruption keeps what was measured until then."""
    interruption: BaseException | None = None
    problems: list[CaseProblem] = []
    with store.writing(report.store, dict(facts)) as writer:
        try:
            for result in _shown(results, len(tasks), report.datasource, progress):
                problems += result.problems
                if result.facts is None:
                    report.n_read += 1
                elif result.arrays is None:
                    report.n_reused += 1
                    writer.keep(result.case_id, result.facts)
                else:
                    report.n_read += 1
                    writer.add(result.case_id, result.facts, result.arrays)
                if result.facts is not None:
                    facts[result.case_id] = result.facts
        except KeyboardInterrupt as error:
            interruption = error
    report.problems += sorted(problems, key=lambda p: p.case_id)  # processes finish in any order
    if interruption is not None:
        raise interruption


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


def _judge(settings: ScanSettings, found: Sequence[tuple[Pair, CaseFacts]], report: ScanReport) -> None:
    good: list[tuple[Pair, CaseFacts]] = []
    for pair, facts in found:
        problems = checks.check_case(pair, facts, settings.labels)
        patient = _patient(pair, settings.patient_pattern)
        if patient is None:
            problems.append(_no_patient(pair, settings.patient_pattern or ""))
        report.problems += problems
        if all(p.severity != "error" for p in problems):
            good.append((pair, facts))
            report.records.append(_record(settings, pair, facts, patient or pair.case_id))
    folder = str(settings.folder)
    together = checks.check_datasource(settings.name, folder, good, settings.labels)
    if settings.modality is None and good:
        together.append(checks.modality_note(settings.name, folder, [r.modality for r in report.records]))
    report.problems += together
    if any(p.severity == "error" for p in together):
        report.records.clear()


def _record(settings: ScanSettings, pair: Pair, facts: CaseFacts, patient: str) -> CaseRecord:
    modality = settings.modality or checks.infer_modality(facts)
    return CaseRecord(pair.case_id, settings.name, patient, modality, pair.image, pair.lm, facts)


def _patient(pair: Pair, pattern: str | None) -> str | None:
    if pattern is None:
        return pair.case_id
    match = re.search(pattern, pair.image.name)
    return (match.group(1) if match.re.groups else match.group()) if match else None


def _no_patient(pair: Pair, pattern: str) -> CaseProblem:
    return CaseProblem(
        pair.case_id,
        str(pair.image),
        "patient",
        f"a name that matches {pattern!r}",
        pair.image.name,
        "correct patient_pattern",
    )


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} cases/s" if task.speed else "")


def _shown(results: Iterator[CaseResult], total: int, name: str, progress: bool) -> Iterator[CaseResult]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress) as bar:
        yield from bar.track(results, total=total, description=f"scan {name}")
