"""Plans of a workbook: from sheets and rows to values that follow from their parents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fran.errors import choices
from fran.excel.grammar import NotThis, is_blank, literal, split, truth
from fran.excel.layout import Layout, PlanSheet, PlanTable, slug
from fran.excel.ledger import Ledger, Outcome
from fran.excel.plan_keys import BY_MODE, NOT_KEYS, PLAN_KEYS, REFERENCES
from fran.excel.workbook import Cell
from fran.plans.schema import MODE_ALIASES

EXPLICIT_NULL = "~"
STATES_NOTHING = "states nothing: the parent's value, or fran's own"
_REFERENCE = re.compile(r"(?:plan[\s_]*)?(\d+)")
_MEND = "mend the cell and import again"
_MARGINS = {"expand_by_lbd": ("lbd", "rbd"), "expand_by_patch": ("pbd", "sourcepbd")}


@dataclass(frozen=True)
class _Note:
    cell: Cell | None
    outcome: Outcome
    key: str
    detail: str


@dataclass
class Draft:
    """A plan while it is read.

    Attributes:
        name: of the plan and its file.
        anchor: the cell that names it.
        prefix: what the names of the plans it may refer to begin with.
        values: key to value, for what it states itself.
        cells: key to the cell that states it.
        parent: the plan it inherits from; `parent_cell` names it.
        failed: something is wrong, so it is not written.
        searched: old key to the tune cells beside it; `search_keys` says what the key is now.
        on_sheet: it comes from a sheet of its own, not from the table.
    """

    name: str
    anchor: Cell
    prefix: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    parent: str | None = None
    references: dict[str, Cell] = field(default_factory=dict)
    searched: dict[str, dict[str, Cell]] = field(default_factory=dict)
    search_keys: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    on_sheet: bool = False
    notes: list[_Note] = field(default_factory=list)

    def note(self, cell: Cell | None, outcome: Outcome, key: str = "", detail: str = "") -> None:
        """Remember what became of a cell until it is known whether the plan is written, and where."""
        self.notes.append(_Note(cell, outcome, key, detail))


@dataclass(frozen=True)
class _Stated:
    """What one plan says about one old key: the cell with the key, and the cell with the value."""

    label: Cell | None
    value: Cell | None


def drafts(layout: Layout, ledger: Ledger) -> list[Draft]:
    """Every plan of the workbook, its cells read; those of sheets come after those of the table."""
    found = [*_from_table(layout.table, ledger)] if layout.table else []
    found += [_from_sheet(sheet, ledger) for sheet in layout.plan_sheets]
    return found


def _from_table(table: PlanTable, ledger: Ledger) -> Iterator[Draft]:
    if table.sheet.beyond:
        last = max(table.sheet.rows)
        cell = Cell(table.sheet.name, last, 1, None, "")
        found = f"{table.sheet.count()} cells; rows below {last} were not read"
        ledger.problem(cell, "size", "a table of plans", "take out what is no plan", "warning", found)
    for row in table.rows:
        anchor = next(iter(row.values()))
        prefix, name = _row_name(row, ledger)
        if name is None:
            if any(key in row and not is_blank(row[key].value) for key in ("mode", "spacing", "source_plan")):
                ledger.problem(anchor, "id", "an id, for it names the plan", _MEND, found="none in this row")
            ledger.set_aside(row.values(), "a row without id")
            continue
        draft = Draft(name, row.get("plan_name") or row.get("id") or anchor, prefix)
        named = {"id", "mnemonic", "plan_name"}
        for heading in named & set(row):
            draft.note(row[heading], "renamed", "plan_name", f"names the plan {name}")
        stated = {h: _Stated(None, cell) for h, cell in row.items() if h not in named}
        _read(draft, stated, ledger)
        yield draft


def _row_name(row: Mapping[str, Cell], ledger: Ledger) -> tuple[str, str | None]:
    """What the names of a row's neighbours begin with, and the row's own name."""
    mnemonic = row.get("mnemonic")
    prefix = f"{slug(str(mnemonic.value))}_" if mnemonic and not is_blank(mnemonic.value) else ""
    full = row.get("plan_name")
    if full is not None and not is_blank(full.value):
        return prefix, exact_name(str(full.value))
    number = row.get("id")
    if number is None or is_blank(number.value):
        if number is not None and number.fault:
            ledger.problem(number, "id", "a whole number", _MEND)
        return prefix, None
    found = _REFERENCE.fullmatch(str(literal(number.value)).strip().lower())
    return prefix, f"{prefix}plan{int(found.group(1))}" if found else f"{prefix}plan_{slug(str(number.value))}"


def exact_name(text: str) -> str:
    """A name as it stands where it can be a file's, else the nearest that can."""
    plain = text.strip()
    return plain if re.fullmatch(r"[A-Za-z][\w-]*", plain) else slug(plain)


def _from_sheet(sheet: PlanSheet, ledger: Ledger) -> Draft:
    first = next(sheet.sheet.cells())
    draft = Draft(sheet.plan, first, on_sheet=True)
    stated: dict[str, _Stated] = {}
    for row in sheet.rows:
        if row.name in stated:
            draft.note(row.label, "set aside", detail="the variable stands further up; the first one counts")
            continue
        stated[row.name] = _Stated(row.label, row.cells.get("manual_value"))
        tune = {heading: row.cells[heading] for heading in _TUNE if heading in row.cells}
        if tune:
            draft.searched[row.name] = tune
    _read(draft, stated, ledger)
    return draft


_TUNE = ("tune", "tune_type", "tune_value", "quant")


def _read(draft: Draft, stated: Mapping[str, _Stated], ledger: Ledger) -> None:
    mode = _mode_of(stated)
    for old, pair in stated.items():
        if pair.value is not None and pair.value.fault:
            _fails(draft, old, pair, "a value", ledger)
        elif old in REFERENCES:
            _reference(draft, old, pair)
        elif old in NOT_KEYS:
            draft.note(pair.label, "set aside", detail=NOT_KEYS[old])
            draft.note(pair.value, "set aside", detail=NOT_KEYS[old])
        elif old in _MARGINS:
            _margin(draft, old, pair, stated, mode, ledger)
        elif old == "remapping":
            _state(draft, old, BY_MODE.get(mode, "remapping_source"), pair, ledger)
        elif old == "patch_size":
            _patch_size(draft, pair, ledger)
        elif old in PLAN_KEYS:
            _state(draft, old, old, pair, ledger)
        else:
            reason = f"fran knows no such key of a plan; {choices(old, list(PLAN_KEYS))}"
            draft.note(pair.label, "set aside", detail=reason)
            draft.note(pair.value, "set aside", detail=reason)


def _mode_of(stated: Mapping[str, _Stated]) -> str:
    pair = stated.get("mode")
    mode = "" if pair is None or pair.value is None else str(pair.value.value).strip().lower()
    return MODE_ALIASES.get(mode, mode)


def _state(draft: Draft, old: str, as_key: str, pair: _Stated, ledger: Ledger, detail: str = "") -> None:
    """Read one cell as the value of a key of the plan."""
    rule = PLAN_KEYS[as_key]
    draft.search_keys[old] = as_key
    renamed: Outcome = "mapped" if old == rule.key else "renamed"
    if pair.value is None or is_blank(pair.value.value):
        draft.note(pair.label, renamed, rule.key, STATES_NOTHING)
        draft.note(pair.value, renamed, rule.key, STATES_NOTHING)
        return
    try:
        value = None if pair.value.value == EXPLICIT_NULL else rule.parse(pair.value.value)
    except NotThis as expected:
        _fails(draft, old, pair, str(expected), ledger)
        return
    if rule.key in draft.values:
        reason = f"{rule.key} is stated in {draft.cells[rule.key].where} already"
        draft.note(pair.label, "set aside", detail=reason)
        draft.note(pair.value, "set aside", detail=reason)
        return
    draft.values[rule.key], draft.cells[rule.key] = value, pair.value
    same = old == rule.key and _same(pair.value.value, value)
    draft.note(pair.label, renamed, rule.key)
    outcome: Outcome = "converted" if not same and rule.says else renamed
    draft.note(pair.value, outcome, rule.key, detail or _conversion(pair.value, value, same, rule.says))


def _same(old: Any, new: Any) -> bool:
    """Is the new value what the old program read from the cell?"""
    try:
        parsed = literal(old)
    except NotThis:
        return str(old) == str(new)
    if isinstance(new, bool):
        return truth(parsed) == new
    if isinstance(new, list) and not isinstance(parsed, list):
        parsed = [parsed]
    return bool(parsed == new) or str(parsed) == str(new)


def _conversion(cell: Cell, value: Any, same: bool, says: str) -> str:
    return "" if same else f"{cell.shown} → {value}" + (f" ({says})" if says else "")


def _fails(draft: Draft, old: str, pair: _Stated, expected: str, ledger: Ledger) -> None:
    if pair.value is not None:
        ledger.problem(pair.value, f"{old} of plan {draft.name}", expected, _MEND)
        draft.note(pair.label, "set aside", detail="its value cannot be read")
        draft.note(pair.value, "set aside", detail=f"cannot be read: expected {expected}")
    draft.failed = True


def _reference(draft: Draft, old: str, pair: _Stated) -> None:
    """Remember which plan is named; whether there is one is known when all are read."""
    if pair.value is None or is_blank(pair.value.value):
        draft.note(pair.label, "mapped", old, STATES_NOTHING)
        draft.note(pair.value, "mapped", old, STATES_NOTHING)
        return
    draft.references[old] = pair.value
    draft.note(pair.label, "mapped", old)


def _margin(draft: Draft, old: str, pair: _Stated, stated: Mapping[str, _Stated], mode: str, ledger: Ledger) -> None:
    """`expand_by_lbd` and `expand_by_patch`: fran's plan has one margin, that of its own stage."""
    own = stated.get("expand_by")
    has_own = own is not None and own.value is not None and not is_blank(own.value.value)
    if not has_own and mode in _MARGINS[old]:
        _state(draft, old, "expand_by", pair, ledger)
        return
    why = "expand_by is stated too" if has_own else f"this plan's mode is {mode or 'not stated'}"
    reason = f"a plan has one margin, expand_by, that of its own stage; {why}"
    draft.note(pair.label, "set aside", detail=reason)
    draft.note(pair.value, "set aside", detail=reason)


def _patch_size(draft: Draft, pair: _Stated, ledger: Ledger) -> None:
    """Three numbers are `patch_dim0` twice and `patch_dim1`."""
    try:
        sizes = [] if pair.value is None else PLAN_KEYS["spacing"].parse(pair.value.value)
    except NotThis as expected:
        _fails(draft, "patch_size", pair, str(expected), ledger)
        return
    keys = "patch_dim0, patch_dim1"
    if sizes and sizes[0] != sizes[1]:
        _fails(draft, "patch_size", pair, "equal sides along x and y", ledger)
    elif sizes and pair.value is not None:
        for key, size in zip(("patch_dim0", "patch_dim1"), (sizes[0], sizes[2]), strict=True):
            draft.values.setdefault(key, int(size))
            draft.cells.setdefault(key, pair.value)
        draft.note(pair.value, "converted", keys, f"{pair.value.shown} → {int(sizes[0])} and {int(sizes[2])}")
    draft.note(pair.label, "renamed", keys)


def one_plan(name: str, stated: Mapping[str, tuple[Cell, Cell]], ledger: Ledger) -> Draft:
    """The plan of a workbook without plans, from the parameters that are a plan's today.

    Args:
        name: of the plan.
        stated: old variable to the cells of its name and value.
        ledger: takes what cannot be read.
    """
    draft = Draft(name, next(iter(stated.values()))[0], on_sheet=True)
    _read(draft, {old: _Stated(*cells) for old, cells in stated.items()}, ledger)
    return draft


def reference(text: Any, prefix: str, known: Mapping[str, Any]) -> tuple[str, str]:
    """Name of the plan that a cell refers to, and the mode that it says the plan has.

    Example:
        >>> reference("4, lbd", "liver_", {}), reference("plan7", "", {}), reference("fine", "", {"fine": 1})
        (('liver_plan4', 'lbd'), ('plan7', ''), ('fine', ''))
    """
    try:
        whole, *rest = split(str(literal(text) if not isinstance(text, str) else text))
    except NotThis:
        whole, rest = str(text), []
    mode = rest[0].lower() if rest else ""
    if whole in known:
        return whole, mode
    if slug(whole) in known and not whole.isdigit():
        exact = slug(whole)
        return (f"{prefix}{exact}" if f"{prefix}{exact}" in known else exact), mode
    found = _REFERENCE.fullmatch(whole.strip().lower().removesuffix(".0"))
    return (f"{prefix}plan{int(found.group(1))}" if found else slug(whole)), mode
