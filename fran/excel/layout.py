"""What each sheet of a workbook is: parameters, one plan, the table of plans, or something else.

Sheets are told apart by their headings first and by their names second, for names changed more often than headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from openpyxl.utils import range_boundaries

from fran.excel.ledger import Ledger
from fran.excel.workbook import Cell, Sheet

PARAMETER_SHEETS = {
    "model_params": "model",
    "dataset_params": "dataset",
    "transform_factors": "intensity",
    "after_item_intensity": "early_intensity",
    "after_item_spatial": "spatial",
    "affine3d": "affine",
    "after_batch_affine": "affine",
    "loss_params": "loss",
    "metadata": "metadata",
    "fran_settings": "fran",
}
SIDE_SHEETS = {
    "vtunet_params": "fran has no network VTUNet; swinunetr is the nearest",
    "mask_labels": "rules for predictions; fran keeps them in a project's mask_labels.json",
    "resnet": "settings of a side project, a classifier; fran segments",
}
_COLUMNS = {"values": "manual_value", "value": "manual_value", "note": "notes", "q": "quant"}
_PLAN_SIGNS = {"datasources", "mode", "spacing", "patch_dim0", "patch_dim1", "expand_by", "source_plan", "lm_groups"}
_ONE_PLAN = re.compile(r"plan[\s_-]*(\d+)")
_HEADING_ROWS = 20


@dataclass
class Row:
    """A row of a sheet whose rows are variables.

    Attributes:
        name: the variable, in small letters.
        label: the cell that names it.
        cells: its other cells by heading (``manual_value``, ``tune``, ...).
    """

    name: str
    label: Cell
    cells: dict[str, Cell]


@dataclass
class Parameters:
    """A sheet with a variable a row; `kind` is a value of `PARAMETER_SHEETS`, or empty."""

    sheet: Sheet
    kind: str
    rows: list[Row] = field(default_factory=list)


@dataclass
class PlanSheet:
    """A sheet that is one plan."""

    sheet: Sheet
    plan: str
    rows: list[Row] = field(default_factory=list)


@dataclass
class PlanTable:
    """The sheet with a plan a row: its cells by heading."""

    sheet: Sheet
    headings: dict[str, Cell]
    rows: list[dict[str, Cell]]


@dataclass
class Layout:
    """A workbook's sheets, each as what it is."""

    parameters: list[Parameters] = field(default_factory=list)
    plan_sheets: list[PlanSheet] = field(default_factory=list)
    table: PlanTable | None = None

    @property
    def has_plans(self) -> bool:
        """Does the workbook state plans of its own?"""
        return self.table is not None or bool(self.plan_sheets)

    @property
    def is_empty(self) -> bool:
        """Is there nothing that fran reads?"""
        return not (self.has_plans or self.parameters)


def lay_out(sheets: Sequence[Sheet], ledger: Ledger) -> Layout:
    """Recognise the sheets; what is no part of any is set aside in the ledger, as are headings."""
    layout = Layout()
    for sheet in sheets:
        _recognise(sheet, layout, ledger)
    return layout


def _recognise(sheet: Sheet, layout: Layout, ledger: Ledger) -> None:
    name = tidy(sheet.name)
    table_row = _heading_row(sheet, {"id", "plan_name"})
    variable_row = _heading_row(sheet, {"var_name"})
    if table_row and len(_PLAN_SIGNS & set(_headings(sheet, table_row))) > 1:
        _table(sheet, name, table_row, layout, ledger)
    elif name in SIDE_SHEETS:
        ledger.close(sheet, SIDE_SHEETS[name])
    elif variable_row:
        _variables(sheet, name, variable_row, layout, ledger)
    elif name in PARAMETER_SHEETS or _ONE_PLAN.fullmatch(name) or name == "plans":
        for cell in list(sheet.cells())[:1]:
            heading = "id" if name == "plans" else "var_name"
            ledger.problem(cell, "headings", f"a row of headings with {heading}", "put it above the values")
        ledger.close(sheet, "a sheet without headings")
    else:
        ledger.close(sheet, "fran reads no sheet of this name")


def tidy(text: object) -> str:
    """A name as it is compared: small letters, ``_`` for spaces.

    Example:
        >>> tidy(" Model Params ")
        'model_params'
    """
    return re.sub(r"\s+", "_", str(text).strip().lower())


def _heading_row(sheet: Sheet, wanted: set[str]) -> int | None:
    """The first of the upper rows that holds one of the headings."""
    for number in list(sheet.rows)[:_HEADING_ROWS]:
        if wanted & {tidy(cell.value) for cell in sheet.rows[number].values()}:
            return number
    return None


def _headings(sheet: Sheet, number: int) -> dict[str, Cell]:
    """Cells of a row by heading; of two with the same heading the first one counts."""
    found: dict[str, Cell] = {}
    for cell in sheet.rows[number].values():
        heading = tidy(cell.value)
        if heading and not heading.startswith("unnamed:"):
            found.setdefault(_COLUMNS.get(heading, heading), cell)
    return found


def _table(sheet: Sheet, name: str, number: int, layout: Layout, ledger: Ledger) -> None:
    if name not in ("plans", "plan") or layout.table is not None:
        reason = "the old program took plans from the sheet 'plans' alone; rename this one to have its rows read"
        ledger.close(sheet, reason)
        return
    headings = _headings(sheet, number)
    columns = {cell.column: heading for heading, cell in headings.items()}
    below = {row: cells for row, cells in sheet.rows.items() if row > number}
    _check_merged(sheet, set(columns), number, ledger)
    rows = [{columns[c]: cell for c, cell in cells.items() if c in columns} for cells in below.values()]
    layout.table = PlanTable(sheet, headings, [row for row in rows if row])
    _put_headings(headings, ledger)


def _variables(sheet: Sheet, name: str, number: int, layout: Layout, ledger: Ledger) -> None:
    headings = _headings(sheet, number)
    rows = list(_rows(sheet, number, headings))
    kind = PARAMETER_SHEETS.get(name, "")
    plan = "" if kind else _plan_name(name, rows)
    _check_merged(sheet, {cell.column for cell in headings.values()}, number, ledger)
    if plan:
        layout.plan_sheets.append(PlanSheet(sheet, plan, rows))
    elif kind:
        layout.parameters.append(Parameters(sheet, kind, rows))
    else:
        ledger.close(sheet, "fran reads no sheet of this name")
        return
    _put_headings(headings, ledger)


def _plan_name(name: str, rows: Sequence[Row]) -> str:
    numbered = _ONE_PLAN.fullmatch(name)
    if numbered:
        return f"plan{int(numbered.group(1))}"
    signs = _PLAN_SIGNS & {row.name for row in rows}
    return slug(name) if len(signs) > 1 and ("mode" in signs or name.startswith("plan")) else ""


def slug(text: str) -> str:
    """A name that can be a file's and a Hydra option's.

    Example:
        >>> slug("plan 4 (old)"), slug("2024 kits")
        ('plan_4_old', 'x2024_kits')
    """
    plain = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_") or "unnamed"
    return plain if plain[0].isalpha() else f"x{plain}"


def _rows(sheet: Sheet, number: int, headings: Mapping[str, Cell]) -> Iterator[Row]:
    named = headings["var_name"].column
    columns = {cell.column: heading for heading, cell in headings.items() if heading != "var_name"}
    for row, cells in sheet.rows.items():
        label = cells.get(named)
        if row > number and label is not None and tidy(label.value):
            yield Row(tidy(label.value), label, {columns[c]: cell for c, cell in cells.items() if c in columns})


def _put_headings(headings: Mapping[str, Cell], ledger: Ledger) -> None:
    for heading, cell in headings.items():
        ledger.put(cell, "mapped", detail=f"heading of the column {heading}")


def _check_merged(sheet: Sheet, columns: set[int], first_row: int, ledger: Ledger) -> None:
    """Merged cells among those that are read: one value for several cells, or for one of them?"""
    for merged in sheet.merged:
        left, top, right, bottom = range_boundaries(merged)
        if bottom >= first_row and columns & set(range(left, right + 1)):
            cell = sheet.rows.get(top, {}).get(left) or Cell(sheet.name, top, left, None, "")
            where = f"{sheet.name}!{merged}"
            ledger.problem(cell, "merged cells", "one value a cell", "unmerge them and fill in each cell", found=where)
