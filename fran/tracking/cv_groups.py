"""Cross-validations: folds of equal settings and of one assignment of cases, under one name.

A group is a folder ``<project>/cv/<plan>-<model>-cv-<n>`` whose group.json says what its runs have in common. Which
runs belong to it follows from their own records, so folds may be trained in any order, at once, on several machines
or months apart. Making a group is idempotent: whoever comes second finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fran.errors import NothingNamedSo, StoreError, choices
from fran.io.files import read_json, write_json
from fran.tracking.identity import differences
from fran.tracking.runs import RunRecord, exclusive

GROUP_FILE = "group.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CvGroup:
    """What the folds of one cross-validation have in common.

    Attributes:
        folder: of the group: group.json and the summary; its name is the group's.
        project, plan, model: names.
        settings_digest, folds_digest: as of its runs' records.
        settings: the settings behind the digest, see `fran.tracking.identity.identity`.
    """

    folder: Path
    project: str
    plan: str
    model: str
    settings_digest: str
    folds_digest: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the group."""
        return self.folder.name

    @property
    def digest(self) -> str:
        """Settings and folds in one: the group's identity in any store."""
        return f"{self.settings_digest}-{self.folds_digest[:12]}"

    def holds(self, record: RunRecord) -> bool:
        """Whether a run is one of its folds."""
        same = (record.settings_digest, record.folds_digest) == (self.settings_digest, self.folds_digest)
        return same and record.fold != "all"

    def members(self, runs: Sequence[RunRecord]) -> dict[int | str, list[RunRecord]]:
        """Its runs by fold, those of a fold the oldest first."""
        found: dict[int | str, list[RunRecord]] = {}
        for record in runs:
            if self.holds(record):
                found.setdefault(record.fold, []).append(record)
        return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def chosen(runs: Sequence[RunRecord]) -> RunRecord:
    """The run that stands for a fold: the newest finished one, else the newest."""
    return max(runs, key=lambda record: (record.finished, record.started_at, record.name))


def groups_in(cv_folder: Path | str) -> list[CvGroup]:
    """Every group of a project, in the order of their names; what cannot be read is said and left out."""
    found = []
    for path in sorted(Path(cv_folder).glob(f"*/{GROUP_FILE}"), key=lambda p: _numbered(p.parent.name)):
        try:
            found.append(_read(path.parent))
        except StoreError as error:
            log.warning("%s", error)
    return found


def find_group(cv_folder: Path | str, name: str) -> CvGroup:
    """The group of that name.

    Raises:
        StoreError: there is none.
    """
    folder = Path(cv_folder) / name
    if not (folder / GROUP_FILE).is_file():
        known = [group.name for group in groups_in(cv_folder)]
        raise NothingNamedSo(f"group: no cross-validation '{name}' in {cv_folder}; {choices(name, known)}")
    return _read(folder)


def group_for(cv_folder: Path | str, record: RunRecord, settings: Mapping[str, Any]) -> CvGroup:
    """The group that a run belongs to, made if there is none; two processes at once get the same one."""
    cv_folder = Path(cv_folder)
    with exclusive(cv_folder / ".lock"):
        known = groups_in(cv_folder)
        found = next((group for group in known if group.holds(record)), None)
        if found is not None:
            return found
        stem = f"{record.plan}-{record.model}-cv-"
        alike = [group for group in known if group.name.startswith(stem)]
        number = 1 + max((int(tail) for g in alike if (tail := g.name.removeprefix(stem)).isdigit()), default=0)
        made = CvGroup(
            *(cv_folder / f"{stem}{number}", record.project, record.plan, record.model),
            *(record.settings_digest, record.folds_digest, settings),
        )
        names = ("project", "plan", "model", "settings_digest", "folds_digest", "settings")
        write_json(made.folder / GROUP_FILE, {name: getattr(made, name) for name in names})
    if alike:
        log.info("%s is a new cross-validation: %s", made.name, why_another(alike[-1], made))
    return made


def why_another(former: CvGroup, group: CvGroup) -> str:
    """In words, why folds of `group` cannot be pooled with those of `former`."""
    reasons = differences(former.settings, group.settings)
    if former.folds_digest != group.folds_digest:
        reasons.insert(0, "cases are dealt to folds in another way")
    some = "; ".join(reasons[:8]) + f"; and {len(reasons) - 8} more" * (len(reasons) > 8)
    return f"it differs from {former.name}: {some}"


def _read(folder: Path) -> CvGroup:
    content = read_json(folder / GROUP_FILE)
    try:
        return CvGroup(folder, **content)
    except TypeError as error:
        raise StoreError(f"{folder / GROUP_FILE}: not a group of folds that fran wrote ({error})") from error


def _numbered(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdigit() else (name, 0)
