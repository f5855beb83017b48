"""Adding datasources to a project: scan, compare with what is stored, link, and store in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fran.datasources.datasource import Datasource
from fran.datasources.scan import ScanReport
from fran.errors import CaseProblem, CasesFailed, ConfigError
from fran.parallel.jobs import Execute
from fran.parallel.local import run_jobs
from fran.projects import links
from fran.projects.admission import Admission, label_name_problems, missing_problems, spoilt_problems
from fran.projects.assignment import write_mirror
from fran.projects.database import CaseRow, Database, SourceRow
from fran.projects.folders import ProjectFolders
from fran.projects.quality import write_qc


@dataclass
class AddReport:
    """Outcome of `add_data`.

    Attributes:
        scans: report of each datasource.
        problems: everything found, of every severity.
        added: ids of new cases.
        updated: ids of cases whose files, labels or test flag changed.
        unchanged: ids of the others.
    """

    scans: list[ScanReport] = field(default_factory=list)
    problems: list[CaseProblem] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[CaseProblem]:
        """Problems that left a case, or a datasource, out."""
        return [p for p in self.problems if p.severity == "error"]

    @property
    def ok(self) -> bool:
        """Whether nothing was left out."""
        return not self.errors

    def raise_for_errors(self) -> None:
        """Raise `CasesFailed` with every error, where there is one. Good cases were stored all the same."""
        if self.errors:
            stored = len(self.added) + len(self.updated) + len(self.unchanged)
            raise CasesFailed(f"{len(self.errors)} errors; {stored} good cases are stored", self.errors)


def add_datasources(
    folders: ProjectFolders,
    database: Database,
    datasources: Sequence[tuple[Datasource, bool]],
    num_workers: int = 1,
    progress: bool = False,
    execute: Execute = run_jobs,
    strict: bool = False,
) -> AddReport:
    """Bring the database and the links up to date with `datasources`, each given with its test flag.

    Reading raw files takes no lock; judging and storing does, so of two processes one waits for a moment.

    Args:
        folders: of the project.
        database: of the project.
        datasources: with their test flags.
        num_workers: processes that read.
        progress: show bars.
        execute: where files are read, see `fran.parallel.backends.backend`.
        strict: a warning leaves its case out, or its datasource where it is about the whole of it.

    Raises:
        ConfigError: two datasources of one name.
    """
    _check_names(database.sources(), [ds for ds, _ in datasources])
    report = AddReport()
    for datasource, _ in datasources:
        store = folders.statistics(datasource.name)
        report.scans.append(datasource.scan(store, num_workers, progress, execute=execute, strict=strict))
    with database.transaction() as transaction:
        sources = transaction.sources()
        _check_names(sources, [ds for ds, _ in datasources])
        former = {case.case_id: case for case in transaction.cases()}
        before = links.targets(former.values())
        links.recover(folders.link_journal, transaction.raw_file_of)
        problems = _Problems(strict)
        rows = _admitted(folders, former, datasources, report.scans, problems)
        for problem in label_name_problems(sources, [ds for ds, _ in datasources], transaction.setting("lm_groups")):
            problems.say(problem.case_id, problem)
        _sort_out(former, rows, report)
        with links.changing(folders.link_journal, before, links.targets({**former, **rows}.values())) as changed:
            for datasource, test in datasources:
                transaction.put_source(_source_row(datasource, test))
            transaction.put_cases([rows[c] for c in (*report.added, *report.updated)])
            for datasource, _ in datasources:
                transaction.put_verdicts(datasource.name, problems.of(datasource.name))
                report.problems += problems.of(datasource.name)
            write_qc(folders.quality, transaction)
            if report.added or report.updated:
                write_mirror(folders, transaction)
    if changed:
        finish_links(folders, database)
    return report


def finish_links(folders: ProjectFolders, database: Database) -> None:
    """Remove links that nobody wants after a change that was committed."""
    with database.transaction() as transaction:
        links.recover(folders.link_journal, transaction.raw_file_of)


def _stricter(problem: CaseProblem) -> CaseProblem:
    return replace(problem, severity="error") if problem.severity == "warning" else problem


class _Problems:
    """Problems by datasource, in the order in which they were found."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._found: dict[str, list[CaseProblem]] = defaultdict(list)

    def say(self, ds: str, problem: CaseProblem) -> None:
        self._found[ds].append(_stricter(problem) if self._strict else problem)

    def refused(self) -> set[tuple[str, str]]:
        return {(ds, p.case_id) for ds, found in self._found.items() for p in found if p.severity == "error"}

    def of(self, ds: str) -> list[CaseProblem]:
        return self._found[ds]


def _check_names(sources: Mapping[str, SourceRow], datasources: Sequence[Datasource]) -> None:
    folders = {name: source.folder for name, source in sources.items() if source.folder.is_dir()}
    for datasource in datasources:
        taken = folders.setdefault(datasource.name, datasource.folder)
        if taken != datasource.folder:
            raise ConfigError(
                f"datasource name: expected one folder a name, found '{datasource.name}' for {taken} and for "
                f"{datasource.folder}; give one of them another name"
            )


def _admitted(
    folders: ProjectFolders,
    former: Mapping[str, CaseRow],
    datasources: Sequence[tuple[Datasource, bool]],
    scans: Sequence[ScanReport],
    problems: _Problems,
) -> dict[str, CaseRow]:
    admission = Admission(folders, former, problems.say)
    for (datasource, test), scan in zip(datasources, scans, strict=True):
        for problem in (*scan.problems, *missing_problems(datasource.name, former.values())):
            problems.say(datasource.name, problem)
        for record in scan.records:
            admission.consider(record, datasource, test)
    admission.part_files()
    admission.separate()
    admission.note_flags()
    admission.note_copies()
    refused = problems.refused()
    for ds, problem in spoilt_problems(refused, former):
        problems.say(ds, problem)
    return {case_id: row for case_id, row in admission.rows.items() if (row.ds, case_id) not in refused}


def _sort_out(former: Mapping[str, CaseRow], rows: Mapping[str, CaseRow], report: AddReport) -> None:
    for case_id, row in rows.items():
        old = former.get(case_id)
        (report.added if old is None else report.unchanged if row == old else report.updated).append(case_id)


def _source_row(datasource: Datasource, test: bool) -> SourceRow:
    return SourceRow(
        name=datasource.name,
        alias=datasource.alias,
        folder=datasource.folder,
        label_names=datasource.labels or {},
        annotated=None if datasource.annotated is None else tuple(map(int, datasource.annotated)),
        ds_type=datasource.ds_type,
        test=test,
        modality=datasource.modality,
        patient_pattern=datasource.patient_pattern,
    )
