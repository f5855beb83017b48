"""Adding datasources to a project: scan, compare with what is stored, link, and store in one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fran.datasources.datasource import LABELS_FILE, Datasource
from fran.datasources.records import CaseRecord
from fran.datasources.scan import ScanReport
from fran.errors import CaseProblem, CasesFailed, ConfigError, Severity
from fran.parallel.jobs import Execute
from fran.parallel.local import run_jobs
from fran.projects.database import CaseRow, Database, SourceRow
from fran.projects.folders import ProjectFolders


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
    num_workers: int,
    progress: bool,
    execute: Execute = run_jobs,
) -> AddReport:
    """Bring the database and the links up to date with `datasources`, each given with its test flag.

    Raises:
        ConfigError: two datasources of one name.
    """
    sources = database.sources()
    _check_names(sources, [ds for ds, _ in datasources])
    report = AddReport()
    for datasource, _ in datasources:
        store = folders.statistics(datasource.name)
        report.scans.append(datasource.scan(store, num_workers=num_workers, progress=progress, execute=execute))
    with database.transaction() as transaction:
        former = {case.case_id: case for case in database.cases()}
        rows: dict[str, CaseRow] = {}
        for (datasource, test), scan in zip(datasources, report.scans, strict=True):
            report.problems += scan.problems
            _note_missing(datasource.name, former.values(), report)
            for record in scan.records:
                _plan_case(record, datasource, test, folders, former, rows, report)
        _check_copies(former, rows, report)
        _check_label_names(sources, [ds for ds, _ in datasources], report)
        changed = [row for row in rows.values() if row != former.get(row.case_id)]
        with _links(list(rows.values()), folders):
            for datasource, _ in datasources:
                names = datasource.labels or {}
                transaction.put_source(SourceRow(datasource.name, datasource.alias, datasource.folder, names))
            transaction.put_cases(changed)
    _remove_stale_links(changed, former)
    return report


def _check_names(sources: Mapping[str, SourceRow], datasources: Sequence[Datasource]) -> None:
    folders = {name: source.folder for name, source in sources.items() if source.folder.is_dir()}
    for datasource in datasources:
        taken = folders.setdefault(datasource.name, datasource.folder)
        if taken != datasource.folder:
            raise ConfigError(
                f"datasource name: expected one folder a name, found '{datasource.name}' for {taken} and for "
                f"{datasource.folder}; give one of them another name"
            )


def _plan_case(
    record: CaseRecord,
    datasource: Datasource,
    test: bool,
    folders: ProjectFolders,
    former: Mapping[str, CaseRow],
    rows: dict[str, CaseRow],
    report: AddReport,
) -> None:
    """Make the row of a good case, unless its id or the name of its link is taken."""
    old = former.get(record.case_id)
    owner = rows.get(record.case_id) or old
    row = _row(record, datasource, test, folders, old)
    if owner is not None and owner.ds != record.datasource:
        found = f"{owner.image} of datasource {owner.ds} has it"
        report.problems.append(
            _problem(record, "case id", "an id that is free in the project", found, "rename the files")
        )
        return
    for link, target in ((row.img_symlink, row.image), (row.lm_symlink, row.lm)):
        if _is_taken(link, target, old):
            step = "move it away; fran overwrites nothing it did not make"
            problem = _problem(record, "link", f"{link} to be free", "something else of that name", step)
            report.problems.append(problem)
            return
    if old is not None and test and not old.test:
        found = f"a training case of fold {old.fold}"
        step = "train again: runs made before have seen it"
        report.problems.append(_problem(record, "test flag", "a case never trained on", found, step, "warning"))
    rows[record.case_id] = row
    (report.added if old is None else report.unchanged if row == old else report.updated).append(record.case_id)


def _row(record: CaseRecord, source: Datasource, test: bool, folders: ProjectFolders, old: CaseRow | None) -> CaseRow:
    facts = record.facts
    return CaseRow(
        case_id=record.case_id,
        ds=record.datasource,
        alias=source.alias,
        image=record.image,
        lm=record.lm,
        img_symlink=folders.raw_images / record.image.name,
        lm_symlink=folders.raw_lms / record.lm.name,
        fold=None if old is None or test else old.fold,
        test=test,
        labels=dict(facts.labels),
        has_foreground=record.has_foreground,
        spacing_mm=facts.spacing_mm,
        size=facts.size,
        image_digest=facts.image_stamp.digest,
        lm_digest=facts.lm_stamp.digest,
        patient=record.patient,
        modality=record.modality,
    )


def _is_taken(link: Path, target: Path, old: CaseRow | None) -> bool:
    """Whether `link` exists and is neither right nor this case's own."""
    if not link.is_symlink():
        return link.exists()
    return link.readlink() != target and (old is None or link not in (old.img_symlink, old.lm_symlink))


def _check_copies(former: Mapping[str, CaseRow], rows: Mapping[str, CaseRow], report: AddReport) -> None:
    """Warn of equal images in two datasources; inside one, the scan has done so."""
    owners: dict[str, CaseRow] = {}
    for row in {**former, **rows}.values():
        first = owners.setdefault(row.image_digest, row)
        if first.ds != row.ds and (row.case_id in rows or first.case_id in rows):
            found = f"the same bytes as {first.image} of datasource {first.ds}"
            step = "drop one of the copies; until then they share a fold"
            if first.test != row.test:
                step = "drop one of the copies: one is for training and the other for testing"
            report.problems.append(
                CaseProblem(row.case_id, str(row.image), "copies", "one case an image", found, step, "warning")
            )


def _check_label_names(sources: Mapping[str, SourceRow], added: Sequence[Datasource], report: AddReport) -> None:
    """Warn where a value has one name here and another there."""
    names: dict[int, tuple[str, str]] = {}
    known = {name: source.label_names for name, source in sources.items()} | {d.name: d.labels or {} for d in added}
    for ds, labels in sorted(known.items()):
        for value, name in labels.items():
            other, first = names.setdefault(value, (name, ds))
            if other != name and any(d.name in (ds, first) for d in added):
                found = f"'{other}' in {first}, '{name}' in {ds}"
                step = "put the datasources into different label groups (set_lm_groups), or correct the names"
                report.problems.append(
                    CaseProblem(ds, LABELS_FILE, f"label {value}", "one name a value", found, step, "warning")
                )


def _note_missing(name: str, former: Iterable[CaseRow], report: AddReport) -> None:
    for row in former:
        if row.ds == name and not (row.image.exists() and row.lm.exists()):
            found = "no longer there; the case stays in the project"
            step = "restore the files"
            report.problems.append(
                CaseProblem(row.case_id, str(row.image), "raw files", "those of a stored case", found, step, "warning")
            )


@contextmanager
def _links(rows: Sequence[CaseRow], folders: ProjectFolders) -> Iterator[None]:
    """Make the links of `rows`; if the block fails, put back what was there."""
    before: list[tuple[Path, Path | None]] = []
    folders.raw_images.mkdir(parents=True, exist_ok=True)
    folders.raw_lms.mkdir(parents=True, exist_ok=True)
    try:
        for row in rows:
            for link, target in ((row.img_symlink, row.image), (row.lm_symlink, row.lm)):
                old = link.readlink() if link.is_symlink() else None
                if old != target:
                    before.append((link, old))
                    _link(link, target)
        yield
    except BaseException:
        for link, old in before:
            link.unlink(missing_ok=True)
            if old is not None:
                _link(link, old)
        raise


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".tmp-{os.getpid()}-{link.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _remove_stale_links(changed: Sequence[CaseRow], former: Mapping[str, CaseRow]) -> None:
    for row in changed:
        old = former.get(row.case_id)
        if old is None:
            continue
        for link in {old.img_symlink, old.lm_symlink} - {row.img_symlink, row.lm_symlink}:
            if link.is_symlink():
                link.unlink()


def _problem(
    record: CaseRecord, what: str, expected: str, found: str, step: str, severity: Severity = "error"
) -> CaseProblem:
    return CaseProblem(record.case_id, str(record.image), what, expected, found, step, severity)
