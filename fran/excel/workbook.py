"""Cells of a workbook, streamed: memory follows what is used, not what the sheet claims to hold."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from fran.errors import DataError
from fran.excel.container import check_container, merged_ranges
from fran.excel.formulas import NotEvaluated, evaluate

MOST_CELLS = 50_000
_EXACT = 2**53


@dataclass(frozen=True)
class Cell:
    """One non-empty cell.

    Attributes:
        sheet, row, column: where it stands, counted from 1.
        value: text, number or truth value; of a formula its result.
        shown: what the cell holds as text, the formula where it is one.
        fault: why it has no value that can be used; empty where it has one.
    """

    sheet: str
    row: int
    column: int
    value: Any
    shown: str
    fault: str = ""

    @property
    def coordinate(self) -> str:
        """Such as ``B7``."""
        return f"{get_column_letter(self.column)}{self.row}"

    @property
    def where(self) -> str:
        """Such as ``plans!B7``."""
        return f"{self.sheet}!{self.coordinate}"


@dataclass
class Sheet:
    """Non-empty cells of a worksheet by row, then column, as far as they are kept.

    Attributes:
        beyond: how many non-empty cells follow the `MOST_CELLS` that are kept, and in which rows the first and last
            of them stand.
        merged: merged ranges such as ``A2:A5``.
    """

    name: str
    rows: dict[int, dict[int, Cell]] = field(default_factory=dict)
    beyond: int = 0
    beyond_rows: tuple[int, int] = (0, 0)
    merged: tuple[str, ...] = ()

    def cells(self) -> Iterator[Cell]:
        """Every cell that is kept, in reading order."""
        for row in self.rows.values():
            yield from row.values()

    def count(self) -> int:
        """Non-empty cells, those not kept included."""
        return sum(map(len, self.rows.values())) + self.beyond


def read_sheets(path: Path) -> list[Sheet]:
    """Every worksheet of a workbook (.xlsx, .xlsm).

    A sheet of 200 000 used rows costs time but little memory: `MOST_CELLS` cells are kept, the others are counted.

    Raises:
        DataError: the file is missing, of another type, protected by a password, or damaged.
    """
    check_container(path)
    try:
        sheets = _read(path, cached=False)
        formulas = any(isinstance(cell.value, _Formula) for sheet in sheets for cell in sheet.cells())
        _finish(sheets, _read(path, cached=True) if formulas else [Sheet(sheet.name) for sheet in sheets])
    except (zipfile.BadZipFile, KeyError, ParseError, InvalidFileException, ValueError, TypeError, OSError) as error:
        step = "open it in Excel or LibreOffice and save it again"
        raise DataError(f"{path}: expected a workbook, found a damaged one ({error}); {step}") from error
    merged = merged_ranges(path)
    for sheet in sheets:
        sheet.merged = merged.get(sheet.name, ())
    return sheets


def _read(path: Path, *, cached: bool) -> list[Sheet]:
    book = openpyxl.load_workbook(path, read_only=True, data_only=cached, keep_links=False)
    try:
        return [_sheet(worksheet, count=not cached) for worksheet in book.worksheets]
    finally:
        book.close()


def _sheet(worksheet: Any, *, count: bool) -> Sheet:
    sheet = Sheet(worksheet.title)
    worksheet.reset_dimensions()  # the file may claim any size; the rows themselves decide
    kept = 0
    for row in worksheet.iter_rows():
        if kept == MOST_CELLS and not count:
            break
        for cell in row:
            if cell.value is None:
                continue
            if kept < MOST_CELLS:
                made = Cell(sheet.name, cell.row, cell.column, _raw(cell.value, cell.data_type), "")
                sheet.rows.setdefault(cell.row, {})[cell.column] = made
                kept += 1
            else:
                sheet.beyond += 1
                sheet.beyond_rows = (sheet.beyond_rows[0] or cell.row, cell.row)
    return sheet


@dataclass(frozen=True)
class _Formula:
    text: str


@dataclass(frozen=True)
class _ErrorValue:
    text: str


def _raw(value: Any, data_type: str) -> Any:
    if data_type == "f":
        return _Formula(str(getattr(value, "text", value)))
    return _ErrorValue(str(value)) if data_type == "e" else value


def _finish(sheets: list[Sheet], cached: list[Sheet]) -> None:
    """Replace formulas by their results, and say of each cell that has no usable value why."""
    for sheet, results in zip(sheets, cached, strict=True):
        for number, row in sheet.rows.items():
            for column, cell in row.items():
                result = results.rows.get(number, {}).get(column)
                row[column] = _finished(cell, None if result is None else result.value)


def _finished(cell: Cell, cached: Any) -> Cell:
    match cell.value:
        case _Formula(text):
            return _evaluated(cell, text, cached)
        case _ErrorValue(text):
            return replace(cell, value=None, shown=text, fault=f"Excel's error {text}")
        case datetime.date() | datetime.time() | datetime.timedelta() as moment:
            return replace(cell, value=None, shown=str(moment), fault=f"a date ({moment}), into which Excel turns text")
        case float() as number if number.is_integer() and abs(number) < _EXACT:
            return replace(cell, value=int(number), shown=str(int(number)))
    return replace(cell, shown=str(cell.value))


def _evaluated(cell: Cell, formula: str, cached: Any) -> Cell:
    with suppress(NotEvaluated):
        return replace(cell, value=evaluate(formula), shown=formula)
    if isinstance(cached, bool | int | float | str):
        return replace(cell, value=cached, shown=formula)
    return replace(cell, value=None, shown=formula, fault=f"the formula {formula} without a stored result")
