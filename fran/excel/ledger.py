"""What became of every cell: the book that the report is printed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from fran.errors import CaseProblem, Severity
from fran.excel.workbook import Cell, Sheet

Outcome = Literal["mapped", "renamed", "converted", "set aside"]
OUTCOMES: tuple[Outcome, ...] = ("mapped", "renamed", "converted", "set aside")


@dataclass(frozen=True)
class Entry:
    """What became of a cell, or of the cells of one range.

    Attributes:
        sheet, cells: where; ``B7``, or ``A2:C9`` where `count` is above 1.
        shown: what the cell holds.
        outcome: ``mapped`` to the key of the same name, ``renamed``, ``converted`` in value, or ``set aside``.
        key, file: where the value went; empty for cells set aside.
        detail: the conversion, or the reason.
        count: how many non-empty cells.
    """

    sheet: str
    cells: str
    shown: str
    outcome: Outcome
    key: str = ""
    file: str = ""
    detail: str = ""
    count: int = 1


@dataclass
class Ledger:
    """Entries by cell; the first one of a cell stands, so that what is particular comes before what is general.

    Attributes:
        path: the workbook.
        entries: by sheet and cell, or rows.
        problems: what has to be mended in the workbook.
        notes: what was added without a cell that states it.
    """

    path: str
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    problems: list[CaseProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(
        self,
        cell: Cell | None,
        outcome: Outcome,
        key: str = "",
        file: str = "",
        detail: str = "",
    ) -> None:
        """Note what became of a cell; nothing happens for no cell, or one that is noted already."""
        if cell is not None:
            entry = Entry(cell.sheet, cell.coordinate, cell.shown, outcome, key, file, detail)
            self.entries.setdefault((cell.sheet, cell.coordinate), entry)

    def set_aside(self, cells: Iterable[Cell | None], reason: str) -> None:
        """Note of several cells why they are not used."""
        for cell in cells:
            self.put(cell, "set aside", detail=reason)

    def has(self, cell: Cell) -> bool:
        """Is the cell noted?"""
        return (cell.sheet, cell.coordinate) in self.entries

    def problem(
        self, cell: Cell, what: str, expected: str, next_step: str, severity: Severity = "error", found: str = ""
    ) -> None:
        """Note something wrong about a cell."""
        shown = found or (cell.fault or repr(cell.value))
        self.problems.append(CaseProblem(cell.where, self.path, what, expected, shown, next_step, severity))

    def close(self, sheet: Sheet, reason: str) -> None:
        """Set aside what is left of a sheet."""
        self.set_aside(sheet.cells(), reason)
        if sheet.beyond:
            first, last = sheet.beyond_rows
            why = f"fran reads the first {sheet.count() - sheet.beyond} cells of a sheet; {reason}"
            rows = f"rows {first} to {last}"
            self.entries[sheet.name, rows] = Entry(sheet.name, rows, "…", "set aside", "", "", why, sheet.beyond)
