"""Which scanned cases a project takes in: ids and links must be free, and nothing may be in training and test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fran.datasources.datasource import LABELS_FILE, Datasource
from fran.datasources.pairing import fix
from fran.datasources.records import CaseRecord
from fran.errors import CaseProblem, Severity
from fran.io.volume import stem
from fran.projects.database import CaseRow, SourceRow
from fran.projects.folders import ProjectFolders
from fran.projects.folds import FoldCase

Say = Callable[[str, CaseProblem], None]
"""Takes the name of a datasource and a problem found in it."""


@dataclass
class Admission:
    """Cases taken in so far.

    Attributes:
        folders: of the project.
        former: cases stored before, by case id.
        say: is told every problem.
        rows: cases taken in, by case id.
    """

    folders: ProjectFolders
    former: Mapping[str, CaseRow]
    say: Say
    rows: dict[str, CaseRow] = field(default_factory=dict)

    def consider(self, record: CaseRecord, datasource: Datasource, test: bool) -> None:
        """Take a good case in, unless its id or the name of its link is taken."""
        old = self.former.get(record.case_id)
        owner = self.rows.get(record.case_id) or old
        row = case_row(record, datasource, test, self.folders, old)
        if owner is not None and owner.ds != record.datasource:
            self._refuse(row, "case id", "an id that is free in the project", *_taken_id(owner, datasource))
            return
        for link, target in ((row.img_symlink, row.image), (row.lm_symlink, row.lm)):
            if _is_taken(link, target, old):
                step = "move it away; fran overwrites nothing it did not make"
                self._refuse(row, "link", f"{link} to be free", "something else of that name", step)
                return
        self.rows[record.case_id] = row

    def part_files(self) -> None:
        """Refuse cases that share a raw file with another case; the one that is stored, or was first, stays."""
        first: dict[Path, CaseRow] = {}
        final = {**self.former, **self.rows}
        for row in sorted(final.values(), key=lambda row: row.case_id not in self.former):
            owners = [first.setdefault(path, row) for path in (row.image, row.lm)]
            other = next((owner for owner in owners if owner is not row), None)
            if other is not None and row.case_id in self.rows:
                step = "keep one of the two; the other may be in a project of its own"
                found = f"those of case {other.case_id} of datasource {other.ds}"
                self._refuse(row, "raw files", "files that no other case has", found, step)
                del self.rows[row.case_id]

    def separate(self) -> None:
        """Refuse cases that share a patient or an image with a case on the other side of the test flag.

        The one that was there first stays: stored with its flag before, or else earlier in the list.
        """
        fresh = [row for row in self.rows.values() if _flag_is_new(row, self.former)]
        settled = [row for case_id, row in self.former.items() if case_id not in self.rows]
        settled += [row for row in self.rows.values() if not _flag_is_new(row, self.former)]
        first: dict[tuple[str, str, bool], CaseRow] = {}
        for row in settled:
            rival = _take_side(row, first)
            if rival and (row.case_id in self.rows or rival[1].case_id in self.rows):
                step = "drop one of the two; until then neither is trained on, nor validated with"
                self._refuse(row, "leakage", "no case in training and test", _shared(*rival, row), step)
        for row in fresh:
            rival = _take_side(row, first)
            if rival:
                kept = self.former.get(row.case_id)
                outcome = f"; it stays a {_side(kept)} case" if kept else ""
                step = f"keep one of the two; {rival[1].image} is in the project"
                if rival[0] == "patient":
                    step = "keep a patient's cases on one side; for another patient let patient_pattern match more"
                self._refuse(row, "leakage", "no case in training and test", _shared(*rival, row) + outcome, step)
                del self.rows[row.case_id]

    def note_flags(self) -> None:
        """Warn of cases for testing that some run may have trained on."""
        for row in self.rows.values():
            old = self.former.get(row.case_id)
            if old is not None and row.test and not old.test:
                found = f"a training case of fold {old.fold}"
                step = "train again: runs made before have seen it"
                self._say(row, "test flag", "a case never trained on", found, step, "warning")

    def note_copies(self) -> None:
        """Warn of equal images, and of equal label maps, in two datasources; inside one, the scan does so."""
        images: dict[str, CaseRow] = {}
        lms: dict[str, list[CaseRow]] = defaultdict(list)
        for row in {**self.former, **self.rows}.values():
            other = images.setdefault(fold_case(row).content, row)
            if other.ds != row.ds and other.test == row.test and {row.case_id, other.case_id} & self.rows.keys():
                step = "drop one of the copies; until then they share a fold"
                self._say(row, "copies", "one case an image", _shared("content", other, row), step)
            if row.has_foreground:
                lms[row.lm_content or row.lm_digest].append(row)
        for first, *others in lms.values():
            if {o.ds for o in others} - {first.ds} and {first.case_id, *(o.case_id for o in others)} & self.rows.keys():
                self._note_equal_lms(first, others)

    def _note_equal_lms(self, first: CaseRow, others: Sequence[CaseRow]) -> None:
        row = next(o for o in (*reversed(others), first) if o.case_id in self.rows)
        same = [str(o.lm) for o in (first, *others) if o is not row]
        found = f"the same as {', '.join(same[:5])}" + f" and {len(same) - 5} more" * (len(same) > 5)
        step = "check that each belongs to its image; where that is right, nothing"
        problem = CaseProblem(row.case_id, str(row.lm), "equal label maps", "one a case", found, step, "warning")
        self.say(row.ds, problem)

    def _refuse(self, row: CaseRow, what: str, expected: str, found: str, step: str) -> None:
        self._say(row, what, expected, found, step, "error")

    def _say(
        self, row: CaseRow, what: str, expected: str, found: str, step: str, severity: Severity = "warning"
    ) -> None:
        self.say(row.ds, CaseProblem(row.case_id, str(row.image), what, expected, found, step, severity))


def case_row(
    record: CaseRecord, source: Datasource, test: bool, folders: ProjectFolders, old: CaseRow | None
) -> CaseRow:
    """A scanned case as it is stored; it keeps the fold of its former self."""
    facts = record.facts
    return CaseRow(
        case_id=record.case_id,
        ds=record.datasource,
        alias=source.alias,
        image=record.image,
        lm=record.lm,
        img_symlink=folders.raw_images / _link_name(record.image, record.case_id, source),
        lm_symlink=folders.raw_lms / _link_name(record.lm, record.case_id, source),
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
        image_content=facts.image_content,
        lm_content=facts.lm_content,
    )


def _link_name(path: Path, case_id: str, source: Datasource) -> str:
    """Name of the link to a raw file: its own, which in another layout may be that of another dataset's file too."""
    return path.name if source.layout is None else case_id + path.name[len(stem(path)) :]


def fold_case(case: CaseRow) -> FoldCase:
    """What folds need to know of a case."""
    content = case.image_content or case.image_digest
    return FoldCase(case.case_id, case.patient, case.ds, frozenset(case.labels), content, case.test)


def label_name_problems(
    sources: Mapping[str, SourceRow], added: Sequence[Datasource], lm_groups: Sequence[Sequence[str]] | None
) -> Iterable[CaseProblem]:
    """Warnings about values that have one name here and another there, in datasources that no label groups part.

    `case_id` is the datasource that is added.
    """
    group = {name: index for index, names in enumerate(lm_groups or []) for name in names}
    names: dict[tuple[int | None, int], tuple[str, str]] = {}
    fresh = {d.name for d in added}
    known = {name: source.label_names for name, source in sources.items()} | {d.name: d.labels or {} for d in added}
    for ds, labels in sorted(known.items()):
        for value, name in labels.items():
            other, first = names.setdefault((group.get(ds), value), (name, ds))
            if other != name and fresh & {ds, first}:
                found = f"'{other}' in {first}, '{name}' in {ds}"
                step = "put the datasources into different label groups (fran project groups), or correct the names"
                owner = ds if ds in fresh else first
                yield CaseProblem(owner, LABELS_FILE, f"label {value}", "one name a value", found, step, "warning")


def missing_problems(name: str, former: Iterable[CaseRow]) -> Iterable[CaseProblem]:
    """Warnings about stored cases of a datasource whose raw files are gone."""
    for row in former:
        if row.ds == name and not (row.image.exists() and row.lm.exists()):
            found = "no longer there; the case stays in the project"
            step = "restore the files"
            yield CaseProblem(
                row.case_id, str(row.image), "raw files", "those of a stored case", found, step, "warning"
            )


def spoilt_problems(
    refused: Iterable[tuple[str, str]], former: Mapping[str, CaseRow]
) -> Iterable[tuple[str, CaseProblem]]:
    """Warnings, each with its datasource, about stored cases whose files are refused now; the cases stay as they were.

    Args:
        refused: (datasource, case id) of cases with an error.
        former: stored cases.
    """
    for ds, case_id in sorted(refused):
        row = former.get(case_id)
        if row is not None and row.ds == ds:
            found = "files with an error; the case stays in the project, and what has to read them again will fail"
            step = "restore the files and run the same command again, or take the datasource out: fran project drop"
            yield (
                ds,
                CaseProblem(
                    case_id, str(row.image), "stored case", "the files that were stored", found, step, "warning"
                ),
            )


def _taken_id(owner: CaseRow, datasource: Datasource) -> tuple[str, str]:
    step = fix("rename-duplicates", datasource.folder)
    if datasource.layout is not None:
        step = "give one of the two datasources alias=<letters>, which is put before its case ids"
    return f"{owner.image} of datasource {owner.ds} has it", step


def _is_taken(link: Path, target: Path, old: CaseRow | None) -> bool:
    """Whether `link` exists and is neither right nor this case's own."""
    if not link.is_symlink():
        return link.exists()
    return link.readlink() != target and (old is None or link not in (old.img_symlink, old.lm_symlink))


def _flag_is_new(row: CaseRow, former: Mapping[str, CaseRow]) -> bool:
    old = former.get(row.case_id)
    return old is None or old.test != row.test


def _take_side(row: CaseRow, first: dict[tuple[str, str, bool], CaseRow]) -> tuple[str, CaseRow] | None:
    """(Kind of bond, case) on the other side, or None and the row's own side is taken."""
    bonds = fold_case(row).bonds
    for kind, value in bonds:
        rival = first.get((kind, value, not row.test))
        if rival is not None:
            return kind, rival
    for kind, value in bonds:
        first.setdefault((kind, value, row.test), row)
    return None


def _shared(kind: str, other: CaseRow, row: CaseRow) -> str:
    where = f"{other.image} of datasource {other.ds}, a {_side(other)} case"
    return f"patient '{row.patient}' also in {where}" if kind == "patient" else f"the same image as {where}"


def _side(case: CaseRow) -> str:
    return "test" if case.test else "training"
