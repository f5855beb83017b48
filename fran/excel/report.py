"""The report of an import: every non-empty cell, what became of it, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from fran.errors import CaseProblem
from fran.excel.importer import Imported
from fran.excel.ledger import OUTCOMES, Entry
from fran.excel.write import Written

_HEADINGS = ("cell", "holds", "became", "key", "file", "detail")


def counts(imported: Imported) -> dict[str, int]:
    """Cells by outcome; their sum is the workbook's number of non-empty cells."""
    found: Counter[str] = Counter()
    for entry in imported.entries:
        found[entry.outcome] += entry.count
    return {outcome: found[outcome] for outcome in OUTCOMES}


def as_json(imported: Imported, written: Written) -> dict[str, Any]:
    """The report as plain data; equal imports give equal reports."""
    return {
        "workbook": imported.workbook,
        "cells": imported.cells,
        "counts": counts(imported),
        "plans": list(imported.plans),
        "files": list(imported.files),
        "kept": dict(written.kept),
        "left_over": list(written.left_over),
        "problems": [_problem(problem) for problem in imported.problems],
        "notes": list(imported.notes),
        "entries": [vars(entry) for entry in imported.entries],
    }


def _problem(problem: CaseProblem) -> dict[str, str]:
    return {
        "cell": problem.case_id,
        "severity": problem.severity,
        "what": problem.what,
        "expected": problem.expected,
        "found": problem.found,
        "next": problem.next_step,
    }


def as_markdown(imported: Imported, written: Written) -> str:
    """The report for people: problems first, then every cell sheet by sheet."""
    lines = [f"# Import of {imported.workbook}", "", *_summary(imported)]
    lines += _section("To mend", [_sentence(problem) for problem in imported.problems])
    lines += _section("Worth knowing", imported.notes)
    lines += _section("Kept as they were", [f"{file}: {reason}" for file, reason in written.kept.items()])
    lines += _section("No longer in the workbook", written.left_over)
    lines += _section("Files", list(imported.files))
    for sheet, entries in groupby(imported.entries, key=lambda entry: entry.sheet):
        lines += ["", f"## {sheet}", "", _row(_HEADINGS), _row(["---"] * len(_HEADINGS))]
        lines += [_row(_cells(entry)) for entry in entries]
    return "\n".join(lines) + "\n"


def _summary(imported: Imported) -> Iterator[str]:
    found = counts(imported)
    yield f"{imported.cells} cells are not empty. All of them are accounted for:"
    yield ""
    meaning = {
        "mapped": "the key of the same name takes the value as it is",
        "renamed": "another key takes the value as it is",
        "converted": "the value was converted; the detail says from what to what",
        "set aside": "not used; the detail says why",
    }
    yield from (f"- {number} {outcome}: {meaning[outcome]}" for outcome, number in found.items())


def _sentence(problem: CaseProblem) -> str:
    return (
        f"{problem.severity}: {problem.case_id}: {problem.what}: expected {problem.expected}, found {problem.found};"
        f" {problem.next_step}"
    )


def _section(title: str, items: Any) -> list[str]:
    return ["", f"## {title}", "", *(f"- {item}" for item in items)] if items else []


def _cells(entry: Entry) -> tuple[str, ...]:
    cells = entry.cells if entry.count == 1 else f"{entry.cells} ({entry.count} cells)"
    return cells, entry.shown, entry.outcome, entry.key, entry.file, entry.detail


def _row(cells: Any) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def summary_lines(imported: Imported, written: Written) -> list[str]:
    """What the command prints."""
    found = ", ".join(f"{number} {outcome}" for outcome, number in counts(imported).items())
    lines = [
        f"{imported.workbook}: {imported.cells} cells: {found}",
        f"{len(imported.plans)} plans, {len(imported.files)} files: {len(written.written)} written,"
        f" {len(written.unchanged)} unchanged, {len(written.kept)} kept",
    ]
    lines += [f"kept {file}: {reason} (--force replaces it)" for file, reason in written.kept.items()]
    lines += [f"no longer in the workbook: {file}" for file in written.left_over]
    return lines
