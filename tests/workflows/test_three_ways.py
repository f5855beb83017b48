"""Three ways into fran, each from its first command to scores.json on real scans, with a training of two steps.

A radiologist's folder of images and label maps; a folder of nnU-Net with folds of its own; a workbook of the old fran.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
Fran = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.realdata]

CASES = 6
SMALL = ("patch_dim0=32", "patch_dim1=32", "preprocess.num_processes=1", "model.filters=4")
QUICK = (
    *("trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.batch_size=1", "trainer.num_workers=0"),
    *("trainer.max_val_cases=1", "run=first"),
)


@pytest.fixture
def hippo(shared_data: Path, tmp_path: Path) -> Path:
    """A folder `images` and `lms` of six MR scans, as somebody drew them."""
    raw = tmp_path / "raw" / "hippo"
    for kind in ("images", "lms"):
        (raw / kind).mkdir(parents=True)
        for file in sorted((shared_data / "hippo" / kind).iterdir())[:CASES]:
            shutil.copy(file, raw / kind)
    return raw


def scored(fran: Fran, project: str, images: Path, references: Path, output: Path, n: int) -> None:
    """Predict and score, and look at what scores.json says."""
    for words in (
        ("infer", f"project={project}", "runs=[first]", f"input={images}", f"output={output}"),
        ("score", f"pred={output}", f"gt={references}", "cases=predicted"),
    ):
        done = fran(*words)
        assert done.returncode == 0, done.stderr
    found = json.loads((output / "scores.json").read_text())
    assert found["scored"] == n
    assert {row["name"] for row in found["summary"]} >= {"anterior", "posterior"}


def test_a_radiologists_folder(fran: Fran, hippo: Path, tmp_path: Path) -> None:
    for words in (
        ("check", str(hippo)),
        ("init", "-t", "hippo", "-i", str(hippo), "modality=MR", "labels={1: anterior, 2: posterior}"),
        ("preprocess", "project=hippo", "plan=plan3", *SMALL[:3]),
        ("train", "project=hippo", "plan=plan3", "preset=cpu", *SMALL, *QUICK),
    ):
        done = fran(*words)
        assert done.returncode == 0, done.stderr
    scored(fran, "hippo", hippo, hippo, tmp_path / "out", CASES)


def test_a_folder_of_nnunet_with_its_splits(fran: Fran, fran_home: Path, hippo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nnUNet_raw" / "Dataset004_Hippocampus"
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    cases = [file.name.removesuffix(".nii.gz") for file in sorted((hippo / "images").iterdir())]
    for case in cases:
        shutil.move(hippo / "images" / f"{case}.nii.gz", folder / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.move(hippo / "lms" / f"{case}.nii.gz", folder / "labelsTr" / f"{case}.nii.gz")
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    stated = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": CASES, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(stated))
    splits = [{"train": [c for c in cases if c not in cases[k::3]], "val": cases[k::3]} for k in range(3)]
    there = tmp_path / "nnUNet_preprocessed" / folder.name
    there.mkdir(parents=True)
    (there / "splits_final.json").write_text(json.dumps(splits))
    done = fran("import-nnunet", str(folder), nnUNet_preprocessed=str(there.parent))
    assert done.returncode == 0, done.stderr
    done = fran("train", "project=hippocampus", "plan=plan3", "preset=nnunet", "fold=1", *SMALL, *QUICK)
    assert done.returncode == 0, done.stderr
    table = fran_home / "cold" / "checkpoints" / "hippocampus" / "first" / "cases.csv"
    assert table.is_file() and any(case in table.read_text() for case in cases[1::3])
    held_out = {line.split(",")[0] for line in table.read_text().splitlines()[1:]}
    assert held_out <= set(cases[1::3])
    images = tmp_path / "new"
    images.mkdir()
    for case in cases[1::3]:
        shutil.copy(folder / "imagesTr" / f"{case}_0000.nii.gz", images)
    scored(fran, "hippocampus", images, folder / "labelsTr", tmp_path / "out", len(cases[1::3]))


def test_an_imported_workbook(fran: Fran, hippo: Path, tmp_path: Path) -> None:
    books = Path(os.environ.get("FRAN_WORKBOOKS") or REPOSITORY.parent / "shared" / "legacy" / "workbooks")
    book = books / "b_nodes_plan_sheets.xlsx"
    if not book.is_file():
        pytest.skip(f"no {book.name} in {books}; FRAN_WORKBOOKS may name another folder")
    conf = tmp_path / "my_conf"
    for words in (
        ("import-excel", str(book), "--out", str(conf)),
        ("init", "-t", "hippo", "-i", str(hippo), "modality=MR", "labels={1: anterior, 2: posterior}"),
    ):
        done = fran(*words)
        assert done.returncode == 0, done.stderr
    plan = ("plan=plan1", "datasources=null")  # its datasources are those of another project
    done = fran("train", "--config-dir", str(conf / "conf"), "project=hippo", *plan, *SMALL, *QUICK)
    assert done.returncode == 0, done.stderr
    assert f"lbd: {CASES} cases preprocessed" in done.stderr  # the mode is the workbook's
    scored(fran, "hippo", hippo, hippo, tmp_path / "out", CASES)
