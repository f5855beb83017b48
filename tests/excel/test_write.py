"""Files on disk: repeatable, and never at the cost of somebody's work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fran.errors import ConfigError, StoreError
from fran.excel.export import export_folder
from fran.excel.importer import Imported, import_workbook
from fran.excel.report import as_json, as_markdown, counts
from fran.excel.write import MANIFEST, write_files
from fran.workflows.import_excel import shipped_options
from tests.excel.conftest import GENERATIONS, SHEETS, TABLE, plans_table

Import = Callable[..., Imported]
PLAN1 = "conf/plan/plan1.yaml"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_importing_twice_gives_the_same_bytes(imported: Import, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_files(imported(TABLE), out)
    before = contents(out)
    second = write_files(imported(TABLE), out)
    assert contents(out) == before
    assert not first.unchanged and not second.written
    assert set(second.unchanged) == set(first.written)
    write_files(imported(TABLE), tmp_path / "elsewhere")
    assert contents(tmp_path / "elsewhere") == before, "no place and no time stands in the files"


def test_a_changed_workbook_updates_untouched_files(imported: Import, tmp_path: Path) -> None:
    write_files(imported(plans_table((1, "lbd", "1,1,1"), (2, "lbd", "2,2,2"))), tmp_path)
    again = write_files(imported(plans_table((1, "lbd", "3,3,3"))), tmp_path)
    assert PLAN1 in again.written
    assert "spacing: [3.0, 3.0, 3.0]" in (tmp_path / PLAN1).read_text()
    assert again.left_over == ("conf/plan/plan2.yaml",)
    assert (tmp_path / "conf/plan/plan2.yaml").exists(), "nothing is deleted"


def test_hand_edits_stay_unless_forced(imported: Import, tmp_path: Path) -> None:
    first, second = (imported(plans_table((1, "lbd", spacing), (2, "lbd", spacing))) for spacing in ("1,1,1", "2,2,2"))
    write_files(first, tmp_path)
    mine = (tmp_path / PLAN1).read_text() + "notes: mine\n"
    (tmp_path / PLAN1).write_text(mine)
    kept = write_files(second, tmp_path)
    assert kept.kept == {PLAN1: "it was changed by hand"}
    assert (tmp_path / PLAN1).read_text() == mine
    assert "spacing: [2.0, 2.0, 2.0]" in (tmp_path / "conf/plan/plan2.yaml").read_text()
    assert PLAN1 in as_markdown(second, kept) and as_json(second, kept)["kept"] == dict(kept.kept)
    assert write_files(second, tmp_path).kept, "still kept the next time"
    assert not write_files(second, tmp_path, force=True).kept
    assert (tmp_path / PLAN1).read_text() == second.files[PLAN1]
    assert not write_files(second, tmp_path).kept


def test_files_of_others_are_kept(imported: Import, tmp_path: Path) -> None:
    (tmp_path / "conf/plan").mkdir(parents=True)
    (tmp_path / PLAN1).write_text("mine")
    assert write_files(imported(plans_table((1, "lbd", "1,1,1"))), tmp_path).kept == {
        PLAN1: "it was there before the first import"
    }
    write_files(imported(plans_table((7, "lbd", "1,1,1")), "liver"), tmp_path)
    lungs = write_files(imported(plans_table((7, "lbd", "2,2,2")), "lungs"), tmp_path)
    assert lungs.kept == {"conf/plan/plan7.yaml": "it comes from liver.xlsx"}


def test_a_file_that_was_deleted_comes_back(imported: Import, tmp_path: Path) -> None:
    found = imported(plans_table((1, "lbd", "1,1,1")))
    write_files(found, tmp_path)
    (tmp_path / PLAN1).unlink()
    assert PLAN1 in write_files(found, tmp_path).written


def test_an_interrupted_import_goes_on(imported: Import, tmp_path: Path) -> None:
    """Files are written before the manifest; without it they are recognised by what is in them."""
    found = imported(TABLE)
    write_files(found, tmp_path)
    (tmp_path / MANIFEST).unlink()
    assert not write_files(found, tmp_path).kept


def test_places_that_cannot_be_written_to(imported: Import, tmp_path: Path) -> None:
    found = imported(TABLE)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="found a file"):
        write_files(found, tmp_path / "file")
    (tmp_path / MANIFEST).write_text('{"files": 3}')
    with pytest.raises(StoreError, match="--force"):
        write_files(found, tmp_path)


def test_the_report_counts_every_cell(imported: Import, tmp_path: Path) -> None:
    found = imported(SHEETS)
    written = write_files(found, tmp_path)
    report = as_json(found, written)
    assert sum(report["counts"].values()) == report["cells"] == sum(e["count"] for e in report["entries"])
    assert json.loads(json.dumps(report)) == report
    page = as_markdown(found, written)
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.split("|")[1].strip()[:1].isalpha()]
    assert len(rows) - page.count("| cell | holds |") == found.cells
    for outcome, number in counts(found).items():
        assert f"- {number} {outcome}:" in page


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_table_and_back_is_the_same(imported: Import, tmp_path: Path, generation: str) -> None:
    found = imported(GENERATIONS[generation], "kits")
    write_files(found, tmp_path / "out")
    (tmp_path / "back").mkdir()
    table = export_folder(tmp_path / "out", tmp_path / "back" / "kits.xlsx")
    assert not table.left_out
    again = import_workbook(tmp_path / "back" / "kits.xlsx", shipped_options())
    assert not again.problems
    assert dict(again.files) == dict(found.files)
    assert not [e for e in again.entries if e.outcome == "set aside"]
    elsewhere = export_folder(tmp_path / "out", tmp_path / "back" / "another_name.xlsx")
    assert not elsewhere.left_out
    assert [row[:5] for row in elsewhere.settings] == [row[:5] for row in table.settings]


def test_plans_by_hand_go_into_a_table_too(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "plan"
    folder.mkdir(parents=True)
    values = (
        "mode: lbd\nspacing: [1.0, 1.0, 2.5]\nnotes: '12'\nfg_indices_exclude: [1, 2]\ndatasources: [a, b]\n"
        "lm_groups: [[a], [b]]\nlocaliser_regions: [all]\nimported_folder: ['${paths.cold}/x', null]\n"
        "remapping_source: {1: 0, rest: 0}\nremapping_lbd: [[1, 2], [0, 1]]\nremapping_imported: ['TSL.a', 'TSL.b']\n"
        "remapping_train: null\nclasses: {kidney: [left, right]}\nhalf_precision: true\n"
    )
    (folder / "My_plan-2.yaml").write_text(f"# @package _global_\nplan_name: My_plan-2\n{values}trainer:\n  lr: 3\n")
    table = export_folder(tmp_path, tmp_path / "book.xlsx")
    assert table.left_out == [f"{folder / 'My_plan-2.yaml'}: trainer"]
    again = import_workbook(tmp_path / "book.xlsx", {})
    assert not again.problems
    found = yaml.safe_load(again.files["conf/plan/My_plan-2.yaml"])
    assert found == {"plan_name": "My_plan-2", **yaml.safe_load(values)}


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found none"):
        export_folder(tmp_path, tmp_path / "book.xlsx")


def test_which_settings_to_export_has_to_be_clear(imported: Import, tmp_path: Path) -> None:
    write_files(imported(SHEETS, "liver"), tmp_path)
    write_files(imported(SHEETS, "lungs"), tmp_path)
    with pytest.raises(ConfigError, match="name the workbook like it"):
        export_folder(tmp_path, tmp_path / "other.xlsx")
    assert export_folder(tmp_path, tmp_path / "lungs.xlsx").settings
