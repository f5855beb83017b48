"""A small workbook of each generation, its values worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml

from fran.excel.importer import Imported
from fran.tuning.space import Space
from tests.excel.conftest import EARLY, GENERATIONS, PLAN, SHEETS, SINGLE, TABLE, Book, plans_table

Import = Callable[..., Imported]


def values(imported: Imported, file: str) -> dict[str, Any]:
    content = yaml.safe_load(imported.files[f"conf/{file}.yaml"])
    assert isinstance(content, dict)
    return content


def became(imported: Imported, sheet: str, cell: str) -> tuple[str, str, str]:
    entry = next(e for e in imported.entries if (e.sheet, e.cells) == (sheet, cell))
    return entry.outcome, entry.key, entry.detail


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_cell_is_accounted_for_once(imported: Import, book: Book, generation: str) -> None:
    found = imported(GENERATIONS[generation])
    workbook = openpyxl.load_workbook(book(GENERATIONS[generation]))
    cells = {
        (sheet.title, cell.coordinate)
        for sheet in workbook
        for row in sheet.iter_rows()
        for cell in row
        if cell.value is not None
    }
    assert len(cells) == found.cells == sum(entry.count for entry in found.entries)
    assert {(entry.sheet, entry.cells) for entry in found.entries} == cells
    assert not found.problems
    for entry in found.entries:
        assert entry.detail if entry.outcome in ("set aside", "converted") else (entry.key or entry.detail), entry
        assert entry.file == "" or entry.file in found.files, entry


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_same_workbook_gives_the_same_files(imported: Import, generation: str) -> None:
    assert imported(GENERATIONS[generation]) == imported(GENERATIONS[generation])


def test_without_plans_the_parameters_make_one(imported: Import) -> None:
    found = imported(EARLY, "kits")
    assert found.plans == ("kits",)
    plan = values(found, "plan/kits")
    assert plan == {
        "plan_name": "kits",
        "spacing": [1, 1, 2],
        "patch_dim0": 192,
        "patch_dim1": 96,
        "remapping_train": {0: 0, 1: 1, 2: 1},
    }
    augmentation = values(found, "augmentation/kits")
    assert augmentation["rotation_deg"] == [22.5, 22.5, 22.5], "=PI()/8 without a stored result, in degrees"
    assert augmentation["contrast_range"] == [0.7, 1.3]
    assert augmentation["flip_p"] == [0.5, 0.5, 0.5]
    assert (augmentation["rotation_p"], augmentation["scale_p"]) == (0.4, 0.4)
    assert values(found, "preset/kits")["defaults"][0] == {"override /plan": "kits"}
    assert became(found, "vtunet_params", "A2")[2] == "fran has no network VTUNet; swinunetr is the nearest"


def test_a_sheet_a_plan(imported: Import) -> None:
    found = imported(SHEETS)
    assert found.plans == ("plan1", "plan2")
    assert values(found, "plan/plan1") == {
        "plan_name": "plan1",
        "datasources": ["nodesthick", "nodes"],
        "mode": "src",
        "spacing": [0.8, 0.8, 1.5],
        "patch_dim0": 128,
        "patch_dim1": 96,
    }
    assert values(found, "plan/plan2") == {
        "defaults": ["plan1", "_self_"],
        "plan_name": "plan2",
        "source_plan": "plan1",
        "mode": "lbd",
        "expand_by": 20,
        "imported_folder": "/predictions/LITS-1088",
        "merge_imported_labels": False,
        "remapping_lbd": "TSL.all:TSL.label_minimal",
        "remapping_imported": None,
    }
    assert became(found, "plan 2", "A4") == ("renamed", "expand_by", "")
    assert any("remapping_imported is null" in note for note in found.notes)
    assert any("holds for all 2 datasources" in note for note in found.notes)
    space = Space.from_yaml(found.files["conf/space/plan2.yaml"])
    assert space.to_plain() == {"expand_by": {"domain": "choice", "options": [0.0, 20.0, 40.0]}}


def test_a_table_of_plans(imported: Import) -> None:
    found = imported(TABLE)
    plan = values(found, "plan/plan1")
    assert plan["expand_by"] == 40
    assert plan["fg_indices_exclude"] == [1]
    assert plan["remapping_imported"] == [{1: 1, 2: 1}, None]
    assert plan["imported_folder"] == ["${paths.cold}/p", "DS.drli/lms"]
    assert values(found, "plan/plan2") == {
        "defaults": ["plan1", "_self_"],
        "plan_name": "plan2",
        "source_plan": "plan1",
        "datasources": ["lits", "drli"],
        "mode": "patch",
        "samples_per_file": 1,
        "use_fg_indices": False,
    }
    assert found.files["conf/plan/plan1.yaml"].startswith("# @package _global_\n")


def test_plans_with_mnemonics(imported: Import) -> None:
    found = imported(SINGLE)
    assert found.plans == ("liver_plan4", "liver_plan5", "kidneys_plan4")
    assert values(found, "plan/liver_plan5")["source_plan"] == "liver_plan4", "ids count within a mnemonic"
    kidneys = values(found, "plan/kidneys_plan4")
    assert kidneys["localiser_regions"] == ["all"]
    assert kidneys["remapping_lbd"] == "TSL.label_full:TSL.label_minimal"
    assert became(found, "plans", "P1")[:2] == ("mapped", "")
    assert became(found, "plans", "P4")[0] == "mapped"
    assert became(found, "plans", "Q4")[0] == "converted"
    assert became(found, "plans", "T4")[2] == "not in a column that is read: scratch"
    assert "'plans' alone" in became(found, "plans_dot", "C2")[2]


def test_both_at_once(imported: Import) -> None:
    """The table keeps the names; what a sheet says differently is written beside it."""
    found = imported(SHEETS | TABLE)
    assert found.plans == ("plan1", "plan2", "plan1_sheet", "plan2_sheet")
    assert values(found, "plan/plan1")["mode"] == "lbd"
    assert values(found, "plan/plan1_sheet")["mode"] == "src"
    assert values(found, "plan/plan2_sheet")["defaults"] == ["plan1_sheet", "_self_"]


def test_a_sheet_that_says_what_the_table_says_is_one_plan(imported: Import) -> None:
    sheet = {"plan1": [PLAN, ("mode", "lbd"), ("spacing", "1,1,2"), ("use_fg_indices", "1")]}
    found = imported(plans_table((1, "lbd", "1,1,2.0", None)) | sheet)
    assert found.plans == ("plan1",)
    assert [e.file for e in found.entries if (e.sheet, e.cells) == ("plan1", "B3")] == ["conf/plan/plan1.yaml"]


def test_settings_and_their_units(imported: Import) -> None:
    found = imported(SHEETS)
    assert values(found, "trainer/book") == {
        "defaults": ["default", "_self_"],
        "optimiser": {"lr": 0.001, "name": "adamw", "weight_decay": 0.0},
        "compile": False,
        "batch_size": 10,
        "fg_fraction": 0.75,
        "loss": {"ce_weight": 2, "include_background": False},
    }
    assert values(found, "model/book") == {"defaults": ["resunet", "_self_"]}
    augmentation = values(found, "augmentation/book")
    assert augmentation["gamma_range"] == [0.7, 1.3], "the old contrast was an exponent"
    assert augmentation["brightness_range"] == [0.01, 2.0], "the old scale multiplied by 1 + v"
    assert augmentation["noise_std"] == 0.25
    assert augmentation["flip_p"] == [0.1, 0.1, 0.0]
    assert augmentation["rotation_deg"] == pytest.approx([11.459156, 11.459156, 8.594367])
    assert augmentation["scale_range"] == [0.85, 1.15]
    preset = values(found, "preset/book")
    assert preset["fold"] == 1
    assert {"override /plan": "plan2"} in preset["defaults"]


def test_the_additive_shift_and_its_search(imported: Import) -> None:
    found = imported(EARLY)
    augmentation = values(found, "augmentation/book")
    assert (augmentation["shift_range"], augmentation["shift_p"]) == ([-1.0, 1.0], 0.1)
    space = Space.from_yaml(found.files["conf/space/book.yaml"]).to_plain()
    assert space["augmentation.shift_range"] == {"domain": "double_range", "low": [-1.0, -0.5], "high": [0.5, 1.0]}


def test_the_search_space(imported: Import) -> None:
    space = Space.from_yaml(imported(SHEETS).files["conf/space/book.yaml"]).to_plain()
    assert space["model.filters"] == {"domain": "choice", "options": [16, 32]}
    assert space["trainer.optimiser.lr"] == {"domain": "qloguniform", "low": 1e-4, "high": 0.05, "q": 0.0005}
    assert space["augmentation.brightness_range"]["low"] == [0.01, 0.5]
    assert space["augmentation.gamma_p"] == {"domain": "uniform", "low": 0.0, "high": 1.0}
    assert space["augmentation.noise_std"]["tune"] is False
    assert space["augmentation.scale_p"]["of"] == "augmentation.rotation_p"
    assert "trainer.fg_fraction" not in space, "[None,tumour] are no ratios"


KINDS = {
    "choice": ("[0.1,0.2]", None, {"options": [0.1, 0.2]}),
    "uniform": ("[0.3,0.1]", None, {"low": 0.1, "high": 0.3}),
    "loguniform": ("[1e-4,1e-2]", None, {"low": 1e-4, "high": 1e-2}),
    "randint": ("[1,4]", None, {"low": 1, "high": 4}),
    "quniform": ("0,0.5", "0.1", {"low": 0, "high": 0.5, "q": 0.1}),
    "qrandint": ("[4,6]", 1, {"low": 4, "high": 6, "q": 1}),
    "qloguniform": ("[5e-2,1e-4]", "5e-4", {"low": 1e-4, "high": 0.05, "q": 5e-4}),
    "range": ("[0.5,2]", 0.5, {"low": 0.5, "high": 2, "step": 0.5}),
    "double_range": ("[0.1,0.2],[0.3,0.4]", None, {"low": [0.1, 0.2], "high": [0.3, 0.4]}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_search(imported: Import, kind: str) -> None:
    text, quant, stated = KINDS[kind]
    sheet = [("var_name", "tune_value", "tune_type", "tune", "quant"), ("lr", text, kind, "1", quant)]
    space = Space.from_yaml(imported({"model_params": sheet}).files["conf/space/book.yaml"]).to_plain()
    assert space["trainer.optimiser.lr"] == {"domain": kind, **stated}


def test_headings_need_not_be_in_the_first_row_nor_tidy(imported: Import) -> None:
    rows = [("plans of 2025",), (), (" ID ", "Mode", "Spacing ", None), (" 1 ", " LBD ", " 1 , 1 , 2 ", "scratch")]
    found = imported({" Plans ": rows})
    assert values(found, "plan/plan1") == {"plan_name": "plan1", "mode": "lbd", "spacing": [1, 1, 2]}


def test_numbers_stored_as_text_and_text_stored_as_numbers(imported: Import) -> None:
    headings = ("id", "mode", "spacing", "patch_dim0", "notes", "datasources")
    found = imported({"plans": [headings, ("1.0", "lbd", "1,1,1", "128.0", 12, 7)]})
    plan = values(found, "plan/plan1")
    assert (plan["patch_dim0"], plan["notes"], plan["datasources"]) == (128, "12", ["7"])


def test_texts_do_not_become_interpolations(imported: Import) -> None:
    found = imported({"plans": [("id", "mode", "spacing", "notes"), (1, "lbd", "1,1,1", "costs ${a}: ???")]})
    assert values(found, "plan/plan1")["notes"] == "costs \\${a}: ???"


def test_a_workbook_named_like_a_shipped_option_does_not_inherit_from_itself(imported: Import) -> None:
    found = imported(SHEETS, "resunet")
    assert values(found, "model/resunet_book")["defaults"][0] == "resunet"


def test_networks_that_come_later_are_taken_over(book: Book) -> None:
    from fran.excel.importer import import_workbook

    sheet = {"model_params": [("var_name", "manual_value"), ("arch", "SwinUNETR"), ("depth_opts", 5)]}
    path: Path = book(sheet)
    assert "fran has no network SwinUNETR: dynunet" in str(import_workbook(path, {"model": ["dynunet"]}).entries)
    later = import_workbook(path, {"model": ["dynunet", "swin_unetr"]})
    assert values(later, "model/book")["defaults"] == ["swin_unetr", "_self_"]
    assert "belongs to dynunet" in became(later, "model_params", "B3")[2]
