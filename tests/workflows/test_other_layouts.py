"""Data sets in the layouts that others use, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fran.datasources.phantom import make_phantoms
from fran.io.files import write_json
from tests.conftest import Fran
from tests.datasources.other_layouts import tree, write_bids, write_decathlon, write_nnunet

SMALL = ("spacing=[2,2,3]", "patch_dim0=32", "patch_dim1=16", "preprocess.num_processes=1")


def test_init_says_what_it_recognised(tmp_path: Path, fran: Fran, fran_home: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset004_Liver", [f"liver_{k}" for k in range(5)])
    before = tree(folder)
    done = fran("init", "-t", "livers", "-i", str(folder))
    assert done.returncode == 0, done.stderr
    said = "Dataset004_Liver: nnU-Net v2, read in place: images imagesTr/<case>_0000.*, label maps labelsTr/<case>.*; 5"
    assert said in done.stdout + done.stderr
    again = fran("init", "project=livers", "datasource=[Dataset004_Liver]")
    assert again.returncode == 0, again.stderr
    made = fran("preprocess", "project=livers", "plan=plan1", *SMALL)
    assert made.returncode == 0, made.stderr
    assert tree(folder) == before
    (link,) = fran_home.rglob("raw_data/livers/images/liver_3.nii.gz")
    assert link.resolve() == folder / "imagesTr" / "liver_3_0000.nii.gz"


def test_check_and_a_choice_of_channel(tmp_path: Path, fran: Fran, fran_home: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset005_Brain", ("b_1", "b_2", "b_3"), channels=2)
    refused = fran("check", str(folder))
    assert (refused.returncode, "choose it with channel=0" in refused.stderr) == (2, True)
    done = fran("init", "-t", "brains", "-i", str(folder), "channel=T2")
    assert done.returncode == 0, done.stderr
    assert "channel: T2" in (fran_home / "conf" / "datasource" / "Dataset005_Brain.yaml").read_text()
    assert fran("init", "project=brains", "datasource=[Dataset005_Brain]").returncode == 0


@pytest.mark.slow
def test_import_takes_the_folds_that_nnunet_has(tmp_path: Path, fran: Fran, fran_home: Path) -> None:
    names = [f"liver_{k}" for k in range(4)]
    folder = write_nnunet(tmp_path / "nnUNet_raw" / "Dataset004_Liver", names)
    splits = tmp_path / "nnUNet_preprocessed" / "Dataset004_Liver" / "splits_final.json"
    folds = [{"train": names[2:], "val": names[:2]}, {"train": names[:2], "val": names[2:]}]
    write_json(splits, folds)
    before = tree(tmp_path / "nnUNet_raw")
    done = fran("import-nnunet", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"folds: as in {splits}" in done.stdout + done.stderr
    assert tree(tmp_path / "nnUNet_raw") == before
    out = tmp_path / "out.json"
    shown = fran("project", "folds", "project=liver", f"to={out}")
    assert f"Folds (validation cases; as in {splits})" in shown.stdout
    assert json.loads(out.read_text()) == folds
    again = fran("project", "folds", "project=liver", f"from={out}")
    assert (again.returncode, "digest" in again.stdout) == (0, True)
    write_json(out, [{"train": names[1:], "val": [*names[:1], "liver_9"]}])
    refused = fran("project", "folds", "project=liver", f"from={out}", "reassign=true")
    assert (refused.returncode, "1 case (liver_9): not in the project" in refused.stderr) == (2, True)
    write_json(splits, [{"train": names[1::2], "val": names[::2]}, {"train": names[::2], "val": names[1::2]}])
    kept = fran("import-nnunet", str(folder))
    assert (kept.returncode, "cases in other folds" in kept.stderr, "reassign=true" in kept.stderr) == (2, True, True)
    assert fran("import-nnunet", str(folder), "reassign=true").returncode == 0
    assert fran("project", "folds", "project=liver", f"to={out}").returncode == 0
    assert json.loads(out.read_text()) == json.loads(splits.read_text())


def test_import_without_folds_and_of_other_folders(tmp_path: Path, fran: Fran) -> None:
    folder = write_decathlon(tmp_path / "Task09_Spleen", [f"spleen_{k}" for k in range(3)])
    done = fran("import-nnunet", str(folder), "-t", "mine", "splits=none")
    assert done.returncode == 0, done.stderr
    assert "folds of 1, 1, 1 cases" in done.stdout + done.stderr
    refused = fran("import-nnunet", str(tmp_path))
    assert (refused.returncode, f"other layouts: fran init -i {tmp_path}" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_export_and_import_again(tmp_path: Path, fran: Fran) -> None:
    folder = write_decathlon(tmp_path / "Task09_Spleen", [f"spleen_{k}" for k in range(4)])
    assert fran("init", "-t", "spleens", "-i", str(folder)).returncode == 0
    out = tmp_path / "raw" / "Dataset009_Spleen"
    done = fran("export-nnunet", "project=spleens", f"output={out}")
    assert done.returncode == 0, done.stderr
    assert f"{out}: 4 training and 0 test cases, 8 of 8 files linked\nlabels: 1 liver, 2 tumour\n" in done.stdout
    assert "nnUNetv2_plan_and_preprocess -d 9 --verify_dataset_integrity" in done.stdout
    back = fran("import-nnunet", str(out), "project.title=again")
    assert back.returncode == 0, back.stderr
    first, second = (
        json.loads(fran("project", "folds", f"project={p}", "json=true").stdout) for p in ("spleens", "again")
    )
    assert {f: sum(c.values()) for f, c in first["cases"].items()} == {
        f: sum(c.values()) for f, c in second["cases"].items()
    }
    assert second["from"] == str(out / "splits_final.json")
    unknown = fran("export-nnunet", "project=spleens", f"output={out}2", "datasources=[Task09]")
    assert (unknown.returncode, "did you mean 'Task09_Spleen'" in unknown.stderr) == (2, True)


def test_bids_from_init_to_preprocessed(tmp_path: Path, fran: Fran) -> None:
    folder = write_bids(tmp_path / "strokes", [f"sub-{k}_ses-{s}" for k in range(2) for s in (1, 2)])
    write_bids(folder, ["sub-0_ses-1"], pipeline="network")
    asked = fran("check", str(folder))
    assert (asked.returncode, "choose one with derivative=manual/desc-manual_dseg" in asked.stderr) == (2, True)
    done = fran("init", "-t", "strokes", "-i", str(folder), "derivative=manual")
    assert done.returncode == 0, done.stderr
    assert "4 images of 2 patients, cases are called like strokes_sub-0_ses-1" in done.stdout + done.stderr
    made = fran("preprocess", "project=strokes", "plan=plan1", *SMALL)
    assert made.returncode == 0, made.stderr
    status = json.loads(fran("project", "status", "project=strokes", "json=true").stdout)
    assert [d["n_patients"] for d in status["datasources"]] == [2]
    assert sum(stage["n_cases"] for stage in status["preprocessed"]) >= 4


@pytest.mark.slow
def test_from_nnunet_to_scores_and_back(tmp_path: Path, fran: Fran) -> None:
    """A data set of nnU-Net with test images: imported, trained on, predicted, scored, exported."""
    phantoms = make_phantoms(tmp_path / "phantoms", 5, 0, name="kidney")
    folder = tmp_path / "nnUNet_raw" / "Dataset007_Kidney"
    for side in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / side).mkdir(parents=True)
    for k, image in enumerate(sorted((phantoms / "images").glob("*.nii.gz"))):
        kind = "Ts" if k == 4 else "Tr"
        name = image.name.removesuffix(".nii.gz")
        (folder / f"images{kind}" / f"{name}_0000.nii.gz").symlink_to(image)
        (folder / f"labels{kind}" / f"{name}.nii.gz").symlink_to(phantoms / "lms" / image.name)
    labels = {"background": 0, "kidney": 1, "tumour": 2}
    stated = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", stated)
    done = fran("import-nnunet", str(folder))
    assert done.returncode == 0, done.stderr
    quick = ("patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]", "model.filters=4", "trainer.max_epochs=1")
    few = ("trainer.steps_per_epoch=2", "trainer.num_workers=0", "trainer.max_val_cases=1", "run=first")
    trained = fran("train", "project=kidney", "preset=nnunet", *quick, *few)
    assert trained.returncode == 0, trained.stderr
    out = tmp_path / "predictions"
    predicted = fran("infer", "project=kidney", "runs=[first]", f"input={folder / 'imagesTs'}", f"output={out}")
    assert predicted.returncode == 0, predicted.stderr
    (label_map,) = out.glob("*.nii.gz")
    assert label_map.name.endswith("_0000.nii.gz")
    scored = fran("score", f"pred={out}", f"gt={folder / 'labelsTs'}", "metrics=[]")
    assert scored.returncode == 0, scored.stderr
    rows = json.loads((out / "scores.json").read_text())
    assert rows["references"] == rows["scored"] == 1
    back = fran("export-nnunet", "project=kidney", f"output={tmp_path / 'Dataset008_Kidney'}")
    assert back.returncode == 0, back.stderr
    assert json.loads((tmp_path / "Dataset008_Kidney" / "dataset.json").read_text())["labels"] == labels
