"""Real workbooks of the old program, where they lie beside the repository.

What the old program made of a cell is worked out here a second time, from its description and with Python's own
parser, and compared with what Hydra composes from the imported files.
"""

from __future__ import annotations

import ast
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from omegaconf import OmegaConf

from fran.excel.importer import Imported, import_workbook
from fran.excel.write import write_files
from fran.labels.spelling import parse_remapping
from fran.plans.checks import check_plan
from fran.plans.schema import Plan
from fran.tuning.space import Space
from fran.workflows.composition import composed, install
from fran.workflows.import_excel import shipped_options
from fran.workflows.locations import prefer_config_dir
from fran.workflows.schema import register
from tests.excel.conftest import REPOSITORY, real_workbooks

pytestmark = pytest.mark.realdata
BOOKS = real_workbooks() or [None]


@pytest.fixture(params=BOOKS, ids=lambda path: path.stem if path else "none")
def workbook(request: pytest.FixtureRequest) -> Path:
    """One of the workbooks."""
    if request.param is None:
        pytest.skip("no workbooks in ../shared/legacy/workbooks; FRAN_WORKBOOKS may name another folder")
    path: Path = request.param
    return path


@pytest.fixture
def imported(workbook: Path) -> Imported:
    """What it gives."""
    return import_workbook(workbook, shipped_options())


def _cells(workbook: Path) -> set[tuple[str, str]]:
    book = openpyxl.load_workbook(workbook)
    return {(s.title, c.coordinate) for s in book for row in s.iter_rows() for c in row if c.value is not None}


def test_every_cell_is_accounted_for_once(workbook: Path, imported: Imported) -> None:
    cells = _cells(workbook)
    assert imported.cells == len(cells) == len(imported.entries)
    assert {(entry.sheet, entry.cells) for entry in imported.entries} == cells
    assert not imported.problems
    for entry in imported.entries:
        assert entry.key or entry.detail, entry
        assert entry.detail or entry.outcome in ("mapped", "renamed"), entry
        assert not entry.file or entry.file in imported.files, entry


def test_what_a_cell_became_stands_in_the_file_that_is_named(imported: Imported) -> None:
    for entry in imported.entries:
        if entry.file:
            for key in entry.key.partition(":")[0].split(", "):
                last = key.rpartition(".")[2] if "/space/" not in entry.file else key
                wanted = f"override /{last}" if key == "plan" else "defaults" if key == "model" else last
                if key != "model" or "/space/" not in entry.file:
                    assert wanted in imported.files[entry.file], entry


def test_search_spaces_can_be_read(imported: Imported) -> None:
    spaces = [text for file, text in imported.files.items() if "/space/" in file]
    assert spaces
    for text in spaces:
        space = Space.from_yaml(text)
        assert Space.from_yaml(space.to_yaml()) == space


@pytest.fixture
def out(imported: Imported, tmp_path: Path, fran_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files on disk, and on the search path as `--config-dir` puts them there."""
    folder = tmp_path / "out"
    write_files(imported, folder)
    monkeypatch.setenv("FRAN_CONF", "")
    prefer_config_dir(["--config-dir", str(folder)])
    register()
    install()
    return folder


def _old(text: Any) -> Any:
    """A cell as the old program read it."""
    if text is None or str(text).strip().lower() in ("", "nan", "na", "null", "none"):
        return None
    if str(text).startswith("="):
        return {"=TRUE()": True, "=FALSE()": False, "=PI()/8": math.pi / 8}[str(text)]
    if str(text).lower() in ("true", "false"):
        return str(text).lower() == "true"
    try:
        value = ast.literal_eval(str(text))
    except (ValueError, SyntaxError):
        return str(text).strip()
    return list(value) if isinstance(value, tuple) else value


def _old_plans(workbook: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name in fran, the sheet it is from, and old key to old value, of every plan."""
    book = openpyxl.load_workbook(workbook)
    for sheet in book:
        rows = [[c.value for c in row] for row in sheet.iter_rows()]
        if sheet.title == "plans":
            for row in rows[1:]:
                cells = {k: v for k, v in zip(rows[0], row, strict=True) if k}
                if cells["id"] is not None:
                    prefix = f"{cells['mnemonic']}_" if "mnemonic" in cells else ""
                    yield f"{prefix}plan{cells['id']}", "plans", cells
        elif re.fullmatch(r"plan\d+", sheet.title):
            yield sheet.title, sheet.title, {row[0]: row[1] for row in rows[1:] if row[0]}


def _expected(old: dict[str, Any], known: dict[str, dict[str, Any]], prefix: str) -> dict[str, Any]:
    """Old values with those of the source plan in blank cells."""
    source = _old(old.get("source_plan"))
    values = {key: _old(value) for key, value in old.items()}
    if source is not None:
        number = re.search(r"\d+", str(source).split(",")[0] if not isinstance(source, list) else str(source[0]))
        assert number is not None
        parent = _expected(known[f"{prefix}plan{number.group()}"], known, prefix)
        values = {k: parent.get(k) if values.get(k) is None else values[k] for k in {*parent, *values}}
        values["source_plan"] = f"{prefix}plan{number.group()}"
    return values


SAME = ("spacing", "patch_dim0", "patch_dim1", "patch_overlap", "expand_by", "samples_per_file", "mode", "vip_label")
TRUTHS = ("use_fg_indices", "merge_imported_labels")


def _check(expected: dict[str, Any], found: dict[str, Any], name: str) -> None:
    for key in SAME:
        if expected.get(key) is not None:
            assert found[key] == expected[key], (name, key)
    for key in TRUTHS:
        if expected.get(key) is not None:
            assert found[key] is bool(expected[key]), (name, key)
    if expected.get("datasources"):
        assert found["datasources"] == str(expected["datasources"]).replace(" ", "").split(",")
    excluded = expected.get("fg_indices_exclude")
    assert found["fg_indices_exclude"] == ([] if excluded is None else [excluded])
    assert found["source_plan"] == expected.get("source_plan")
    folder = expected.get("imported_folder")
    if folder:
        parts = [part.strip() or None for part in str(folder).split(",")]
        parts = [p and p.replace("$cold_storage_folder", found["paths"]["cold"]) for p in parts]
        assert found["imported_folder"] == (parts if len(parts) > 1 else parts[0])
    for key in ("remapping_source", "remapping_whole", "remapping_imported", "remapping_train"):
        _check_remapping(expected.get(key), found[key], key)
    _check_remapping(expected.get("remapping_lbd_rbd") or expected.get("remapping_lbd"), found["remapping_lbd"], "lbd")


def _check_remapping(old: Any, new: Any, key: str) -> None:
    if old is None or (key == "lbd" and new is not None and old is None):
        return
    parts = old if isinstance(old, list) else re.split(r",(?![^{]*\})", str(old)) if isinstance(old, str) else [old]
    parts = [_old(part) for part in parts]
    parts = [part.replace(" ", "") if isinstance(part, str) else part for part in parts]
    if all(isinstance(part, str) and ":" not in part for part in parts) and len(parts) == 2:
        parts = [":".join(parts)]
    assert new == (parts if len(parts) > 1 else parts[0]), key


QUICK = ("b_nodes", "c_lungs")
TO_COMPOSE = [
    pytest.param(path, marks=() if path is None or path.stem.startswith(QUICK) else pytest.mark.slow) for path in BOOKS
]


@pytest.mark.parametrize("workbook", TO_COMPOSE, indirect=True, ids=lambda path: path.stem if path else "none")
def test_composed_values_are_what_the_old_program_read(workbook: Path, imported: Imported, out: Path) -> None:
    plans = [*_old_plans(workbook)]
    table = {name: old for name, sheet, old in plans if sheet == "plans"}
    sheets = {name: old for name, sheet, old in plans if sheet != "plans"}
    for name, old in table.items():
        _compare(name, name, old, table)
    for name, old in sheets.items():
        written = f"{name}_sheet" if f"{name}_sheet" in imported.plans else name
        _compare(written, name, old, {**table, **sheets})
    assert set(imported.plans) - {workbook.stem} <= {*table, *sheets, *(f"{name}_sheet" for name in sheets)}


def _compare(written: str, name: str, old: dict[str, Any], known: dict[str, dict[str, Any]]) -> None:
    config = OmegaConf.masked_copy(composed("preprocess", [f"plan={written}"]), [*vars(Plan()), "paths"])
    found: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    expected = _expected(old, known, name.rpartition("plan")[0])
    if found["source_plan"] and found["source_plan"].endswith("_sheet"):
        expected["source_plan"] = found["source_plan"]
    if expected.get("expand_by") is None and "expand_by_lbd" in expected:
        expected["expand_by"] = expected["expand_by_lbd"]
    _check(expected, found, written)
    plan = Plan(**{key: value for key, value in found.items() if key != "paths"})
    missing = {problem.key for problem in check_plan(plan)}
    assert missing <= {"localiser"}, "the old program had its localiser in the code; a note asks for it"
    assert bool(missing) == (plan.canonical_mode == "rbd" and plan.imported_folder is None), written
    for key, value in found.items():
        if key.startswith("remapping_") and value not in (None, "unset") and "TSL" not in str(value):
            assert parse_remapping(value, plan.datasources or ["a"], key_name=key)


@pytest.mark.parametrize("workbook", [path for path in BOOKS if path and "c_liver" in path.stem], indirect=True)
def test_the_preset_composes_with_the_workbooks_settings(workbook: Path, imported: Imported, out: Path) -> None:
    config = composed("train", [f"preset={imported.name}", "project=_new", "project.title=x"])
    assert (config.plan_name, config.plan_valid, config.fold) == ("plan11", "plan11", 2)
    assert config.trainer.batch_size == 10
    assert config.model._target_ == "fran.networks.dynunet.dynunet"
    assert config.trainer.optimiser.lr == 0.001
    assert config.augmentation.gamma_range == [0.7, 1.3]


def test_real_commands(tmp_path: Path) -> None:
    if BOOKS == [None]:
        pytest.skip("no workbooks in ../shared/legacy/workbooks; FRAN_WORKBOOKS may name another folder")
    book = next(path for path in BOOKS if path and "43" in path.stem)
    shutil.copy(book, tmp_path / "book.xlsx")
    script = str(REPOSITORY / "scripts" / "import_excel.py")
    run = [sys.executable, script, "book.xlsx", "--out", "my conf"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "982 cells" in done.stdout
    train = [sys.executable, str(REPOSITORY / "scripts" / "train.py"), "--config-dir", "my conf/conf", "--cfg", "job"]
    done = subprocess.run(
        [*train, "plan=pancreas_plan1", "--resolve"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "cold/predictions/totalseg/LITS-1437" in done.stdout
    assert "plan_name: pancreas_plan1" in done.stdout
