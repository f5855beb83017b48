"""`fran check` and `fran fix`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.conftest import Fran

AFFINE = np.diag([1.5, 1.25, 3.0, 1.0])


def write_pair(folder: Path, name: str, label: int = 2, shift_mm: float = 0.0, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    lm = np.zeros((6, 7, 12), np.uint8)
    lm[1:4, 2:5, 3:7] = 1
    lm[0, 0, :seed] = 1  # no two alike
    lm[4, 5, 6] = label
    moved = AFFINE.copy()
    moved[0, 3] += shift_mm
    arrays = {"images": rng.integers(-900, 800, lm.shape).astype(np.int16), "lms": lm}
    for side, array in arrays.items():
        (folder / side).mkdir(parents=True, exist_ok=True)
        affine = AFFINE if side == "images" else moved
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / side / f"{name}.nii.gz")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for k in range(3):
        write_pair(folder, f"raw_{k}", seed=k)
    return folder


def test_good_folder(raw: Path, fran: Fran) -> None:
    done = fran("check", str(raw), "modality=CT", "labels={1: kidney, 2: tumour}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "raw: 3 cases: 3 ok, 0 with notes, 0 with warnings, 0 left out\n"
    assert "\x1b" not in done.stdout


def test_faults_are_grouped_and_end_in_status_1(raw: Path, fran: Fran) -> None:
    for k in range(3, 8):
        write_pair(raw, f"raw_{k}", shift_mm=3e-5, seed=k)
    write_pair(raw, "raw_8", label=7, seed=9)
    write_pair(raw, "raw_10", shift_mm=0.3, seed=10)
    (raw / "images" / "raw_9.nii.gz").write_bytes(b"")
    (raw / "lms" / "raw_9.nii.gz").write_bytes(b"")
    done = fran("check", str(raw), "modality=CT", "labels={1: kidney, 2: tumour}")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.startswith("raw: 11 cases: ")
    assert f"fran fix relabel {raw} 'remapping={{7: 0}}'" in done.stdout
    assert "rounded affine: 5 cases: raw_3, raw_4, raw_5 and 2 more" in done.stdout
    assert done.stdout.index("errors:") < done.stdout.index("warnings:") < done.stdout.index("notes:")


def test_strict_counts_warnings(raw: Path, fran: Fran) -> None:
    write_pair(raw, "raw_3", shift_mm=0.3, seed=3)
    mild = fran("check", str(raw), "modality=CT", "labels={1: a, 2: b}")
    strict = fran("check", str(raw), "modality=CT", "labels={1: a, 2: b}", "strict=true")
    assert (mild.returncode, strict.returncode) == (0, 1)
    assert "1 with warnings, 0 left out" in mild.stdout
    assert "0 with warnings, 1 left out" in strict.stdout


def test_verdicts_of_a_project(raw: Path, fran: Fran) -> None:
    write_pair(raw, "raw_3", shift_mm=0.3, seed=3)
    assert fran("init", "-t", "mine", "-i", str(raw), "modality=CT").returncode == 0
    done = fran("check", "project=mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("project mine: 4 cases: ")
    assert "raw_3" in done.stdout


def test_neither_folder_nor_project(fran: Fran) -> None:
    done = fran("check")
    assert done.returncode == 2
    assert "fran check <folder>" in done.stderr


def test_fix_relabel_by_the_command_that_check_gave(raw: Path, fran: Fran, tmp_path: Path) -> None:
    done = fran("fix", "relabel", str(raw), "remapping={2: 1}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw_relabelled" / "lms" / "raw_0.nii.gz").is_file()
    assert "lms/raw_0.nii.gz: 2 -> 1" in done.stdout + done.stderr
    again = fran("fix", "relabel", str(raw), "remapping={2: 1}")
    assert again.returncode == 2
    assert "raw_relabelled" in again.stderr
    out = tmp_path / "other"
    assert fran("fix", "relabel", f"datasource={raw}", "remapping={-1: 0, 2: 3}", f"out={out}").returncode == 0
    assert out.is_dir()


def test_fix_says_what_it_needs(raw: Path, fran: Fran) -> None:
    for arguments, words in (
        (("relabel", str(raw)), "remapping={3: 1, 4: 0}"),
        (("harmonise", str(raw)), "none that can be mended"),
        (("names", str(raw), "in_place=true"), "relabel alone"),
        (("harmonise", str(raw), "elsewhere"), "expected one datasource"),
        (("polish", str(raw)), "rename-duplicates"),
    ):
        done = fran("fix", *arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert words in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.realdata
def test_every_broken_folder_in_one_run(shared_data: Path, fran: Fran) -> None:
    folders = sorted(str(p) for p in (shared_data / "broken").iterdir() if p.is_dir())
    done = fran("check", *folders, "modality=MR")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "bug" not in done.stdout
    for name in ("truncimg_bad1", "rgb_bad2", "lblallempty", "badnames_cé7", "fran fix rename-duplicates"):
        assert name in done.stdout


def test_patches_of_a_case_stay_in_one_fold(tmp_path: Path, fran: Fran, fran_home: Path) -> None:
    folder = tmp_path / "cut"
    for k in range(12):
        write_pair(folder, f"cut_{k // 2}_{k % 2}", seed=k)
    done = fran("init", "-t", "cut", "-i", str(folder), "modality=CT", "ds_type=patch")
    assert done.returncode == 0, done.stderr
    folds = json.loads((fran_home / "projects" / "cut" / "validation_folds.json").read_text())
    members = [cases for name, cases in folds.items() if name.startswith("fold_")]
    assert sorted(case for cases in members for case in cases) == sorted(f"cut_{k // 2}_{k % 2}" for k in range(12))
    for cases in members:
        for case in cases:
            parent = case.rpartition("_")[0]
            assert {f"{parent}_0", f"{parent}_1"} <= set(cases)
