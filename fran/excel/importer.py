"""A workbook becomes configuration files, and every one of its cells an entry of the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fran.errors import CaseProblem, DataError
from fran.excel.fran_sheet import read_fran_rows
from fran.excel.grammar import is_blank
from fran.excel.layout import Row, lay_out, slug
from fran.excel.ledger import Entry, Ledger, Outcome
from fran.excel.lineage import settle
from fran.excel.parameter_keys import Rule
from fran.excel.parameters import NOTHING, PRESET_KEYS, Settings, file_of, read_parameters
from fran.excel.plans import STATES_NOTHING, Draft, drafts, one_plan, reference
from fran.excel.render import group_file, plan_file, preset_file
from fran.excel.search import Searches, parameter_search, plan_search
from fran.excel.workbook import Sheet, read_sheets
from fran.tuning.space import Space

GROUPS = ("plan", "model", "trainer", "augmentation", "preset", "space")


@dataclass(frozen=True)
class Imported:
    """What a workbook gives.

    Attributes:
        name: of the workbook's own model, trainer, augmentation, preset and search space.
        workbook: file name.
        files: path below the output folder to text.
        plans: names of the plans that are written, parents first.
        cells: how many non-empty cells the workbook has.
        entries: what became of each of them, in reading order.
        problems: what is to be mended; a plan with an error is not among the files.
        notes: what was added without a cell that states it.
    """

    name: str
    workbook: str
    files: Mapping[str, str]
    plans: tuple[str, ...]
    cells: int
    entries: tuple[Entry, ...]
    problems: tuple[CaseProblem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Work:
    """What the steps of one import share."""

    name: str
    workbook: str
    ledger: Ledger
    models: Collection[str]
    files: dict[str, str] = field(default_factory=dict)


def import_workbook(path: Path, shipped: Mapping[str, Collection[str]]) -> Imported:
    """Read a workbook of any generation.

    Args:
        path: the workbook.
        shipped: group (``model``, ``trainer``, ...) to the names of the options that fran has; none of them is
            used for a file of the workbook's own.

    Raises:
        DataError: the file cannot be read, or holds no sheet that fran knows.
    """
    sheets = read_sheets(path)
    ledger = Ledger(str(path))
    layout = lay_out(sheets, ledger)
    if layout.is_empty and not ledger.problems:
        raise DataError(_nothing(path, sheets))
    work = _Work(_own_name(path, shipped), path.name, ledger, shipped.get("model", ()))
    settings = read_parameters(layout.parameters, work.models, ledger, has_plans=layout.has_plans)
    found = drafts(layout, ledger)
    if settings.one_plan and not layout.has_plans:
        found = [one_plan(work.name, settings.one_plan, ledger)]
    settled = settle(found, ledger)
    _write_plans(work, settled, found)
    _write_settings(work, settings, {draft.name: draft for draft in settled if not draft.failed})
    for sheet in sheets:
        ledger.close(sheet, "not in a column that is read: scratch")
    return _finished(work, sheets, settled)


def _nothing(path: Path, sheets: list[Sheet]) -> str:
    named = ", ".join(sheet.name for sheet in sheets) or "none"
    return (
        f"{path}: expected sheets such as plans, plan1, model_params or transform_factors with their headings"
        f" (id, var_name), found the sheets {named}"
    )


def _own_name(path: Path, shipped: Mapping[str, Collection[str]]) -> str:
    name = slug(path.stem)
    taken = {option for options in shipped.values() for option in options}
    return f"{name}_book" if name in taken else name


def _write_plans(work: _Work, settled: list[Draft], found: list[Draft]) -> None:
    for draft in settled:
        file = f"conf/plan/{draft.name}.yaml"
        if not draft.failed:
            work.files[file] = plan_file(draft.name, draft.values, draft.parent, work.workbook)
            if "remapping_imported" in draft.values.keys() - draft.cells.keys():
                work.ledger.notes.append(f"{file}: remapping_imported is null, for the workbook states none")
            searched = plan_search(draft, work.ledger)
            if searched:
                work.files[f"conf/space/{draft.name}.yaml"] = _space_file(searched, work.workbook)
        _flush(draft, file, work.ledger)
    for draft in found:
        if draft.failed:
            _flush(draft, "", work.ledger)


def _flush(draft: Draft, file: str, ledger: Ledger) -> None:
    """Note what became of a plan's cells, now that its file is known."""
    for note in draft.notes:
        if draft.failed and note.outcome != "set aside":
            ledger.put(note.cell, "set aside", detail=f"plan {draft.name} is not written; see the problems")
        else:
            place = "" if note.outcome == "set aside" or note.detail == STATES_NOTHING else file
            ledger.put(note.cell, note.outcome, note.key, place, note.detail)


def _write_settings(work: _Work, settings: Settings, plans: Mapping[str, Draft]) -> None:
    searched: Searches = {}
    for row, rule in settings.searched:
        new = parameter_search(row, rule, work.models, work.ledger)
        searched |= {key: one for key, one in new.items() if key not in searched}
        _put_label(row, rule, settings, bool(new), work.ledger)
    values = {key: setting.value for key, setting in settings.values.items()}
    own = read_fran_rows(settings.fran_rows, work.ledger)
    values |= own.values
    searched |= own.searched
    if len(plans) == 1:
        values["plan"] = next(iter(plans))
    values |= _chosen_plans(settings, plans, work.ledger)
    for plan, space in own.by_plan.items():
        work.files[f"conf/space/{plan}.yaml"] = _space_file(space, work.workbook)
    if searched:
        work.files[f"conf/space/{work.name}.yaml"] = _space_file(searched, work.workbook)
    _write_groups(work, values)
    _name_files(work)


def _put_label(row: Row, rule: Rule, settings: Settings, searched: bool, ledger: Ledger) -> None:
    """Note the cell that names a variable, once it is known whether its value or its search is used."""
    key = rule.keys[0]
    outcome: Outcome = "mapped" if row.name == key else "renamed"
    value = row.cells.get("manual_value")
    if key in settings.values and settings.values[key].row is row:
        ledger.put(row.label, outcome, ", ".join(rule.keys), file_of(key))
    elif searched:
        ledger.put(row.label, outcome, ", ".join(rule.keys), "space")
    elif value is None or is_blank(value.value):
        ledger.put(row.label, outcome, ", ".join(rule.keys), "", NOTHING)
    else:
        ledger.put(row.label, "set aside", detail="its value is set aside")


def _chosen_plans(settings: Settings, plans: Mapping[str, Draft], ledger: Ledger) -> dict[str, str]:
    """Plans that the data set's parameters name, for the preset."""
    found: dict[str, str] = {}
    for key, row in settings.plans.items():
        cell = row.cells.get("manual_value")
        outcome: Outcome = "mapped" if row.name == key else "renamed"
        if cell is None or is_blank(cell.value):
            ledger.put(row.label, outcome, key, "", NOTHING)
            ledger.put(cell, outcome, key, "", NOTHING)
            continue
        name, _ = reference(cell.value, "", plans)
        if name in plans:
            found[key] = name
            ledger.put(row.label, outcome, key, "preset")
            ledger.put(cell, "converted", key, "preset", f"{cell.shown} → {name}")
        else:
            ledger.set_aside([row.label, cell], f"there is no plan {name} among those written")
    return found


_SAYS = {
    "model": "The network.",
    "trainer": "Batches, optimiser and loss; what is not stated is fran's default.",
    "augmentation": "Strengths and probabilities; what is not stated is fran's default.",
}


def _write_groups(work: _Work, values: Mapping[str, Any]) -> None:
    chosen: dict[str, str] = {}
    if "plan" in values:
        chosen["plan"] = values["plan"]
    parents = {"model": str(values.get("model", "dynunet")), "trainer": "default", "augmentation": "default"}
    for group, parent in parents.items():
        own = {k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{group}.")}
        if own or (group == "model" and "model" in values):
            text = group_file(own, parent, work.workbook, _SAYS[group])
            work.files[f"conf/{group}/{work.name}.yaml"] = text
            chosen[group] = work.name
    root = {key: values[key] for key in PRESET_KEYS if key in values and key != "plan"}
    if chosen or root:
        work.files[f"conf/preset/{work.name}.yaml"] = preset_file(chosen, root, work.workbook)


def _name_files(work: _Work) -> None:
    """Entries name a group until here, for a file exists only when something is in it."""
    for place, entry in work.ledger.entries.items():
        if entry.file in GROUPS:
            file = f"conf/{entry.file}/{work.name}.yaml"
            named = Entry(**{**vars(entry), "file": file if file in work.files else ""})
            work.ledger.entries[place] = named


def _space_file(searched: Searches, workbook: str) -> str:
    return f"# What {workbook} searched; read by fran.tuning.space.Space.\n{Space(searched).to_yaml()}"


def _finished(work: _Work, sheets: list[Sheet], settled: list[Draft]) -> Imported:
    places = {sheet.name: number for number, sheet in enumerate(sheets)}
    entries = sorted(work.ledger.entries.values(), key=lambda entry: places[entry.sheet])
    return Imported(
        work.name,
        work.workbook,
        dict(sorted(work.files.items())),
        tuple(draft.name for draft in settled if not draft.failed),
        sum(sheet.count() for sheet in sheets),
        tuple(_in_reading_order(entries, sheets)),
        tuple(work.ledger.problems),
        tuple(work.ledger.notes),
    )


def _in_reading_order(entries: list[Entry], sheets: list[Sheet]) -> list[Entry]:
    known = {(entry.sheet, entry.cells): entry for entry in entries}
    ordered = [known.pop((cell.sheet, cell.coordinate)) for sheet in sheets for cell in sheet.cells()]
    return [*ordered, *known.values()]
