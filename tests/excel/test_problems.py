"""Whatever is wrong with a workbook is said with its cell, all of it in one pass."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import openpyxl
import pytest

from fran.errors import DataError
from fran.excel import workbook
from fran.excel.importer import Imported, import_workbook
from tests.excel.conftest import PLAN, SETTINGS, Book, plans_table, save

Import = Callable[..., Imported]
HEADINGS = ("id", "mode", "spacing", "source_plan")


def _text(path: Path) -> None:
    path.write_text("id,mode\n1,lbd\n")


def _empty(path: Path) -> None:
    path.touch()


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def _half(path: Path) -> None:
    save(path, SETTINGS)
    path.write_bytes(path.read_bytes()[:3000])


def _ods(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("content.xml", "<a/>")


def _xlsb(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.bin", "")


def _xls(path: Path) -> None:
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600) + "Workbook".encode("utf-16-le"))


def _protected(path: Path) -> None:
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600) + "EncryptedPackage".encode("utf-16-le"))


def _broken_part(path: Path) -> None:
    good = path.with_name("good.xlsx")
    save(good, SETTINGS)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[: len(content) // 2] if name.endswith("sheet1.xml") else content)


FILES = [
    (_text, "found text"),
    (_empty, "an empty file"),
    (_zip, "without a workbook in it"),
    (_half, "its end is missing"),
    (_ods, "OpenDocument"),
    (_xlsb, "xlsb"),
    (_xls, "old binary format"),
    (_protected, "take the password off"),
    (_broken_part, "damaged"),
    (Path.mkdir, "a folder"),
    (lambda path: None, "no such file"),
]


@pytest.mark.parametrize(("make", "words"), FILES, ids=[words for _, words in FILES])
def test_other_files_are_named(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "book.xlsx"
    make(path)
    with pytest.raises(DataError, match=words) as error:
        import_workbook(path, {})
    assert str(path) in str(error.value)


def test_a_workbook_without_any_known_sheet(book: Book) -> None:
    with pytest.raises(DataError, match="found the sheets budget"):
        import_workbook(book({"budget": [("month", "sum"), (1, 2)]}), {})


def test_everything_wrong_is_listed_at_once_and_the_good_plans_are_kept(imported: Import) -> None:
    found = imported(
        plans_table(
            (1, "lbd", "0.8,0.8,1.5"),
            (2, "lbdd", "1,1,1"),
            (3, "lbd", "1,1"),
            (4, "pbd", "1,1,1", "9"),
            (5, "pbd", "1,1,1", "plan6"),
            (6, "pbd", "1,1,1", "plan5"),
            (7, "pbd", "1,1,1", "2, lbd"),
            (8, "lbd", "1,1,1"),
            ("8", "source", "1,1,1"),
            (None, "lbd", "1,1,1"),
            (10, "pbd", "=B5", 1),
            (11, "pbd", date(2025, 1, 2), "1, lbd"),
            (12, "pbd", "1,1,1", "1, source"),
        )
    )
    assert found.plans == ("plan1", "plan12")
    said = {problem.case_id: (problem.expected, problem.found) for problem in found.problems}
    assert "did you mean 'lbd'" in said["plans!B3"][0]
    assert "three numbers" in said["plans!C4"][0]
    assert "choices" in said["plans!D5"][0]
    assert "plan5 → plan6 → plan5" in said["plans!D6"][1]
    assert "plan6 → plan5 → plan6" in said["plans!D7"][1]
    assert "plan that can be read" in said["plans!D8"][0]
    assert "plan8 stands in plans!A9 too" in said["plans!A10"][1]
    assert "an id" in said["plans!B11"][0]
    assert "=B5 without a stored result" in said["plans!C12"][1]
    assert "a date" in said["plans!C13"][1]
    assert "mode lbd" in said["plans!D14"][0]
    severities = {problem.case_id: problem.severity for problem in found.problems}
    assert severities.pop("plans!D14") == "warning"
    assert set(severities.values()) == {"error"}
    assert len(found.problems) == len(said) == 11
    assert found.cells == sum(entry.count for entry in found.entries)
    left_out = [e for e in found.entries if e.cells in ("A3", "B3", "C3")]
    assert [e.outcome for e in left_out] == ["set aside"] * 3


def test_a_plan_that_is_its_own_parent(imported: Import) -> None:
    found = imported(plans_table((1, "pbd", "1,1,1", "1")))
    assert not found.plans
    assert "plan1 → plan1" in found.problems[0].found


def test_merged_cells(tmp_path: Path) -> None:
    path = save(tmp_path / "book.xlsx", plans_table((1, "lbd", "1,1,1"), (2, "lbd", "1,1,1")))
    book = openpyxl.load_workbook(path)
    book["plans"].merge_cells("B2:B3")
    book["plans"].merge_cells("H1:I1")  # beside the table: nobody's business
    book.save(path)
    problems = import_workbook(path, {}).problems
    assert [(p.case_id, p.found) for p in problems] == [("plans!B2", "plans!B2:B3")]


@pytest.mark.parametrize(
    ("cell", "words"),
    [("{1:0,2:2:3:3}", "pairs"), ("#REF!", "Excel's error"), ("[1,2", "closing"), ("=OFFSET(A1)", "stored result")],
)
def test_cells_of_a_plan_sheet_that_cannot_be_read(imported: Import, cell: str, words: str) -> None:
    found = imported({"plan1": [PLAN, ("mode", "lbd"), ("spacing", "1,1,1"), ("remapping_imported", cell)]})
    assert not found.plans
    assert [p.case_id for p in found.problems] == ["plan1!B4"]
    assert words in found.problems[0].expected + found.problems[0].found


def test_a_setting_that_cannot_be_read(imported: Import) -> None:
    sheet = [("var_name", "manual_value"), ("lr", "fast"), ("batch_size", 4)]
    found = imported({"model_params": sheet})
    assert [p.case_id for p in found.problems] == ["model_params!B2"]
    assert "batch_size: 4" in found.files["conf/trainer/book.yaml"], "variables that moved between sheets are found"


def test_a_known_sheet_without_headings(imported: Import) -> None:
    found = imported({"model_params": [("lr", 0.1)], "dataset_params": SETTINGS["dataset_params"]})
    assert found.problems[0].case_id == "model_params!A1"
    assert "var_name" in found.problems[0].expected


def test_lists_that_do_not_fit_the_datasources_are_a_warning(imported: Import) -> None:
    headings = ("id", "mode", "spacing", "datasources", "remapping_source")
    found = imported({"plans": [headings, (1, "lbd", "1,1,1", "a,b,c", "{1:1},None")]})
    assert found.plans == ("plan1",)
    assert [(p.case_id, p.severity) for p in found.problems] == [("plans!E2", "warning")]


def _tall(path: Path, rows: int) -> int:
    """A table of plans that goes on with rows of scratch; returns the number of its cells."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("plans")
    sheet.append(["id", "mode", "spacing"])
    sheet.append([1, "lbd", "1,1,1"])
    for number in range(rows):
        sheet.append([None, None, None, f"scratch {number % 7}", number])
    book.save(path)
    return 6 + 2 * rows


def test_a_tall_sheet_is_counted_without_being_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MOST_CELLS", 1000)
    cells = _tall(tmp_path / "book.xlsx", 1500)
    found = import_workbook(tmp_path / "book.xlsx", {})
    assert found.plans == ("plan1",)
    assert found.cells == cells == sum(entry.count for entry in found.entries)
    assert found.entries[-1].cells.startswith("rows ")
    assert found.entries[-1].count == cells - 1000
    assert [(p.what, p.severity) for p in found.problems] == [("size", "warning")]


@pytest.mark.slow
def test_a_sheet_of_200_000_rows_takes_little_memory(tmp_path: Path) -> None:
    _tall(tmp_path / "book.xlsx", 200_000)
    code = (
        "import re, sys; from pathlib import Path; from fran.excel.importer import import_workbook;"
        "cells = import_workbook(Path(sys.argv[1]), {}).cells;"
        # getrusage would count what the parent held when it forked
        "print(cells, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "book.xlsx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cells, peak_mb = map(int, done.stdout.split())
    assert cells == 400_006
    assert peak_mb < 300


def test_a_lying_dimension_and_a_far_cell(tmp_path: Path) -> None:
    path = save(tmp_path / "plain.xlsx", plans_table((1, "lbd", "1,1,1")))
    book = openpyxl.load_workbook(path)
    book["plans"]["C90000"] = "far"
    book.save(path)
    lying = tmp_path / "book.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(lying, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                assert b'ref="A1:D90000"' in content
                content = content.replace(b'ref="A1:D90000"', b'ref="A1:XFD1048576"')
            new.writestr(name, content)
    found = import_workbook(lying, {})
    assert found.plans == ("plan1",)
    assert found.cells == 8
