"""Small workbooks of every generation, and the real ones where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from fran.excel.importer import Imported, import_workbook
from fran.workflows.import_excel import shipped_options

REPOSITORY = Path(__file__).resolve().parents[2]
Rows = Sequence[Sequence[Any]]
Book = Callable[..., Path]

PARAMETERS = ("var_name", "tune_value", "tune_type", "tune", "manual_value", "quant")
FACTORS = ("var_name", "tune", "tune_type", "tune_p", "tune_value", "manual_p", "manual_value")
PLAN = ("var_name", "manual_value", "tune_value", "tune_type", "tune", "quant")

EARLY: dict[str, Rows] = {
    "metadata": [PARAMETERS, ("src_dest_labels", None, None, "=FALSE()", "[0,0],[1,1],[2,1]", None, "[0,0],[1,2]")],
    "model_params": [
        PARAMETERS,
        ("arch", "[VTUNet, nnUNet]", "choice", "=FALSE()", "nnUNet", "DynUNet"),
        ("lr", "[1e-2,5e-4]", "qloguniform", "=TRUE()", 0.001, 0.0005),
        ("deep_supervision", "[True,False]", "choice", "=TRUE()", "=TRUE()"),
        ("mom_low", "[0.6,0.9]", "spec", "=FALSE()", 0.85),
    ],
    "vtunet_params": [PARAMETERS, ("embed_dim", 48, "choice", "=FALSE()", 48)],
    "dataset_params": [
        PARAMETERS[:5],
        ("spacings", None, None, "=FALSE()", "[1,1,2]", "[0.77,0.77,1]"),
        ("patch_dim0", "[64,96]", "choice", "=FALSE()", 192),
        ("patch_dim1", "[48,64]", "choice", "=FALSE()", 96),
        ("bs", None, None, "=FALSE()", 4),
        ("class_ratios", "[None,tumour]", "choice", "=FALSE()", "[0,1,3]", None, "this will bug"),
    ],
    "after_item_intensity": [
        FACTORS,
        ("contrast", "=TRUE()", "double_range", "[0.0,1.0]", "[0.25,0.5],[1.5,2.0]", 0.1, "[0.7,1.3]"),
        ("shift", "=TRUE()", "double_range", "[0.0,1.0]", "[-1,-0.5],[0.5,1.0]", 0.1, "[-1.0,1.0]", "a note"),
    ],
    "after_item_spatial": [
        ("var_name", "values", "tune_p", "tune_type", "tune", "manual_p"),
        ("flip_random", None, "[0,1]", "uniform", "=FALSE()", 0.5),
    ],
    "after_batch_affine": [
        (*PARAMETERS[:5], "Notes"),
        ("rotate_max", None, "[0,0.785]", "=FALSE()", "=PI()/8"),
        ("p", "[0.,1.]", "uniform", "=FALSE()", 0.4),
    ],
    "loss_params": [(*PARAMETERS[:5], "notes"), ("smooth", None, None, "=FALSE()", 1)],
}
SETTINGS: dict[str, Rows] = {
    "model_params": [
        (*PARAMETERS, "Unnamed: 6"),
        ("base_ch_opts", "[16,32]", "choice", 1, "rrr"),
        ("lr", "[1e-4,5e-2]", "qloguniform", 1, "0.001", "0.0005"),
        ("arch", "[nnUNet,SwinUNETR]", "choice", 0, "ResUNet", None, "2.5D"),
        ("optimizer", None, None, 0, "Adam"),
        ("heavy", "[True,False]", "choice", 0, "0"),
        ("compiled", "[True,False]", "choice", 0, "0"),
    ],
    "dataset_params": [
        PARAMETERS[:5],
        ("fold", None, None, 0, "1"),
        ("batch_size", None, None, None, "10"),
        ("fgbg_ratio", "[None,tumour]", "choice", 0, "3"),
        ("plan_train", None, None, None, 2),
    ],
    "transform_factors": [
        FACTORS,
        ("contrast", 1, "double_range", "[0.0,1.0]", "[0.25,0.5],[1.5,2.0]", 0.1, "[0.7,1.3]"),
        ("scale", 1, "double_range", "[0.0,1.0]", "[-1,-0.5],[0.5,1.0]", 0.1, "[-1.0,1.0]"),
        ("noise", 0, "double_range", "[0.0,1.0]", "[0,.25],[.25,.5]", 0.1, "[0.05,.25]"),
        ("flip", 0, "choice", "[0.0,1.0]", "[True,False]", 0.1, "1"),
    ],
    "affine3d": [
        (*PARAMETERS[:5], "Notes"),
        ("rotate_range", None, "[0,0.785]", 0, "[0.20,0.2,0.15]"),
        ("scale_range", "[0.5,1.0],[1.0,2.0]", "double_range", 0, "[0.15,0.15,0.15]"),
        ("p", "[0.,1.]", "uniform", 0, "0.3"),
    ],
    "loss_params": [PARAMETERS[:5], ("lambda_ce", None, None, None, "2"), ("include_background", None, None, None, 0)],
}
SHEETS: dict[str, Rows] = SETTINGS | {
    "plan1": [
        PLAN,
        ("datasources", "nodesthick, nodes"),
        ("lm_groups", None),
        ("spacing", "0.8,.8,1.5"),
        ("mode", "src"),
        ("patch_dim0", 128),
        ("patch_dim1", "96"),
    ],
    "plan 2": [
        PLAN,
        ("mode", "lbd"),
        ("source_plan", "plan1"),
        ("expand_by_lbd", "20", "[0,20,40]", "choice", "=TRUE()"),
        ("remapping", "TSL.all,TSL.label_minimal"),
        ("imported_folder", "/predictions/LITS-1088"),
        ("merge_imported_labels", "0"),
    ],
}
TABLE_HEADINGS = (
    "id", "datasources", "expand_by", "fg_indices_exclude", "mode", "patch_dim0", "patch_dim1", "remapping_imported",
    "imported_folder", "samples_per_file", "source_plan", "spacing", "use_fg_indices", "var_name",
)  # fmt: skip
TABLE: dict[str, Rows] = SETTINGS | {
    "plans": [
        TABLE_HEADINGS,
        (1, "lits,drli", "40", "1", "lbd", "128", "96", "{1:1,2:1},None", "$cold_storage_folder/p,DS.drli/lms", "2",
         None, "0.8,.8,1.5", "=TRUE()", "manual_value"),
        (2, "lits,drli", None, None, "patch", None, None, None, None, "1", "plan1", None, "=FALSE()"),
    ]
}  # fmt: skip
SINGLE: dict[str, Rows] = SETTINGS | {
    "plans": [
        ("mnemonic", *TABLE_HEADINGS, "localiser_regions", "remapping_lbd_rbd", "periodict_test", "vip_label", None),
        ("liver", 4, "lits", 10, None, "lbd", 128, 96, None, None, 2, None, "0.8,.8,1.5", "=TRUE()"),
        ("liver", 5, "lits", None, None, "pbd", None, None, None, None, 1, "4, lbd", None, "=TRUE()"),
        ("kidneys", 4, "kits23", 0, None, "rbd", 160, 96, None, None, 1, None, "1,1,1", "=FALSE()", "manual_value",
         "all", "TSL.label_full: TSL.label_minimal ", 10, 3, "scratch"),
    ],
    "resnet": [PARAMETERS, ("arch", "[ResNet3D]", "choice", 0, "ResNet3D")],
    "plans_dot": [("mnemonic", "id", "mode", "datasources"), ("kidneys", 1, "dot", "kits23")],
}  # fmt: skip
GENERATIONS = {"early": EARLY, "sheets": SHEETS, "table": TABLE, "single": SINGLE, "both": SHEETS | TABLE}


def save(path: Path, sheets: dict[str, Rows]) -> Path:
    """Write a workbook; formulas have no stored results, as openpyxl works none out."""
    book = openpyxl.Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """Save sheets (name to rows) as tmp_path/<name>.xlsx."""

    def made(sheets: dict[str, Rows], name: str = "book") -> Path:
        return save(tmp_path / f"{name}.xlsx", sheets)

    return made


@pytest.fixture
def imported(book: Book) -> Callable[..., Imported]:
    """Import sheets as a workbook."""

    def made(sheets: dict[str, Rows], name: str = "book") -> Imported:
        return import_workbook(book(sheets, name), shipped_options())

    return made


def real_workbooks() -> list[Path]:
    """Workbooks of the old program, where they lie beside the repository."""
    folder = Path(os.environ.get("FRAN_WORKBOOKS") or REPOSITORY.parent / "shared" / "legacy" / "workbooks")
    return sorted(folder.glob("*.xlsx"))


def plans_table(
    *rows: Sequence[Any], headings: Sequence[str] = ("id", "mode", "spacing", "source_plan")
) -> dict[str, Rows]:
    """A workbook of nothing but a table of plans."""
    return {"plans": [headings, *rows]}
