"""`fran postprocess search` on runs whose network is a threshold: cases predicted once, rules where infer looks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fran.datasources.datasource import Datasource
from fran.errors import CasesFailed, ConfigError, StoreError
from fran.io.checkpoint import write_checkpoint
from fran.io.files import read_json, write_json
from fran.projects.folders import ProjectFolders
from fran.projects.mask_labels import LabelRule, read_rules
from fran.projects.project import Project
from fran.tracking.cv_groups import group_for
from fran.tracking.runs import RunRecord, write_record
from fran.workflows.entry import compose_job
from fran.workflows.postprocess_search import check, postprocess_search
from fran.workflows.run_tracking import cv_folder
from fran.workflows.schema import PostprocessSearchConfig

AFFINE = np.array([[0.0, -1.0, 0.0, 9.0], [1.5, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def _raw(folder: Path, n: int) -> Path:
    """Kidneys of 200 HU, and a stone as bright that nobody drew; the annotators' 5 is the kidney."""
    for side in ("images", "lms"):
        (folder / side).mkdir(parents=True)
    for number in range(n):
        lm = np.zeros((11, 14, 9), np.uint8)
        lm[1:6, 2:7, 1 : 4 + number % 4] = 5
        image = np.random.default_rng(number).integers(-50, 50, lm.shape).astype(np.int16)
        image[lm == 5] = 200
        image[9, 10 : 11 + number % 3, 7] = 200
        nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "images" / f"kits_{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(lm, AFFINE), folder / "lms" / f"kits_{number}.nii.gz")
    return folder


def _run(project: Project, fold: int) -> RunRecord:
    """A finished run of one fold: a network that calls everything above 100 HU label 1."""
    split = project.split(fold)
    record = RunRecord(
        project.folders.checkpoints / f"plan1-dynunet-f{fold}-1", "organs", "plan1", "dynunet", fold, "s", split.digest,
        "d", f"2026-01-0{fold + 1}", {"stopped_by": "max_epochs"},
    )  # fmt: skip
    spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    meta = {
        "format": 1, "run": record.name, "project": "organs", "network": spec, "modality": "CT",
        "labels": {"values": [1], "names": {"1": "kidney"}, "origins": {"1": [["kits", 5, "kidney"]]}},
        "properties": {"intensity_clip_range": [-500.0, 900.0], "mean_fg": 100.0, "std_fg": 10.0},
        "spacing": [1.0, 1.5, 2.0], "patch_size": [8, 8, 6], "mode": "source",
        "datasets": {"train": list(split.train), "val": list(split.val)},
    }  # fmt: skip
    state = {"network.weight": torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1), "network.bias": torch.zeros(2)}
    write_checkpoint({"state_dict": state, "fran": meta}, record.folder / "best.ckpt")
    write_record(record)
    return record


@pytest.fixture
def project(fran_home: Path, tmp_path: Path) -> Project:
    made = Project("organs", ProjectFolders("organs", *(fran_home / n for n in ("projects", "cold", "rapid"))))
    made.create()
    made.add_data([Datasource(_raw(tmp_path / "kits", 8), labels={5: "kidney"})])
    made.maybe_store_projectwide_properties(n_folds=2)
    return made


def _search(**settings: Any) -> None:
    overrides = [f"{key}={value}" for key, value in settings.items()]
    known = ["project=_new", "project.title=organs", "device=cpu", "precision='32'", "samples=500"]
    postprocess_search(compose_job("postprocess_search", PostprocessSearchConfig, [*known, *overrides]))


def test_from_the_folds_to_the_rules_of_the_project(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoreError, match="no cross-validation yet"):
        _search()
    runs = [_run(project, fold) for fold in (0, 1)]
    group = group_for(cv_folder(project.folders), runs[0], {})
    _search()
    folder = project.folders.project / "postprocess" / group.name
    found = LabelRule("kidney", dusting_threshold_mm3=10.0)
    assert read_rules(folder / "rules.json") == {1: found}, "in the values of the model"
    assert read_rules(project.folders.mask_labels) == {5: found}, "in those of the project"
    with (folder / "trials.csv").open(newline="") as stream:
        best = next(row for row in csv.DictReader(stream) if row["kept"] == "True")
    assert (best["cases"], best["helped"], best["harmed"], best["after"]) == ("8", "8", "0", "1")
    said = capsys.readouterr().out
    assert said.startswith("1 rule kept: kidney dusting_threshold_mm3 10\nplan1-dynunet-cv-1: 8 cases of 2 folds")
    assert "next: fran infer project=organs" in said

    predicted = sorted((project.folders.predictions / "validation").rglob("*.nii.gz"))
    assert len(predicted) == 8
    before = [p.stat().st_mtime_ns for p in predicted]
    rules = read_json(project.folders.mask_labels)
    _search(runs=f"[{runs[0].name}]")
    assert [p.stat().st_mtime_ns for p in predicted] == before, "what is predicted is not predicted again"
    assert read_json(project.folders.mask_labels) == rules, "too few cases to know better"
    said = capsys.readouterr().out
    assert f"{runs[0].name}: 4 cases of 1 fold\n" in said
    assert "fewer than 6" in said
    rules["5"]["k_largest"] = 2
    write_json(project.folders.mask_labels, rules)
    _search()
    assert read_json(project.folders.mask_labels) == rules
    assert "was set by hand and stays" in capsys.readouterr().out


def test_where_nothing_is_kept_nothing_is_said_to_be_applied(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    _search(runs=f"[{_run(project, 0).name}]")
    said = capsys.readouterr().out
    assert said.startswith("no rule surely helps") and "next:" not in said


def test_rules_may_be_left_in_their_file(project: Project) -> None:
    before = read_json(project.folders.mask_labels)
    names = ",".join(_run(project, fold).name for fold in (0, 1))
    _search(runs=f"[{names}]", adopt="false")
    assert read_json(project.folders.mask_labels) == before


def test_a_run_is_not_judged_on_what_it_was_trained_on(project: Project) -> None:
    from fran.io.checkpoint import read_checkpoint

    record = _run(project, 0)
    checkpoint = read_checkpoint(record.folder / "best.ckpt")
    checkpoint["fran"]["datasets"]["train"] += checkpoint["fran"]["datasets"]["val"][:1]
    write_checkpoint(checkpoint, record.folder / "best.ckpt")
    with pytest.raises(ConfigError, match="found 1 that it was trained on"):
        _search(runs=f"[{record.name}]")


def test_predictions_in_a_folder(fran_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = _raw(tmp_path / "kits", 8)
    pred = tmp_path / "pred"
    pred.mkdir()
    for file in (gt / "images").iterdir():
        bright = np.asarray(nibabel.load(file).dataobj) > 100
        nibabel.save(nibabel.Nifti1Image(bright.astype(np.uint8) * 5, AFFINE), pred / file.name)
    with pytest.raises(ConfigError, match="labels: expected names"):
        _search(pred=pred, gt=gt)
    _search(pred=pred, gt=gt, labels="{5:kidney}")
    found = LabelRule("kidney", dusting_threshold_mm3=10.0)
    assert read_rules(pred / "postprocess" / "rules.json") == {5: found}
    assert not (fran_home / "projects").exists()
    assert "postprocess=" in capsys.readouterr().out.splitlines()[-1]
    write_json(pred / "kits_3.json", {"postprocess": {"5": {"k_largest": 1}}})
    with pytest.raises(ConfigError, match="found 1 with, such as kits_3"):
        _search(pred=pred, gt=gt, labels="{5:kidney}")
    (pred / "kits_2.nii.gz").unlink()
    with pytest.raises(CasesFailed, match="1 of 8 references have no prediction"):
        _search(pred=pred, gt=gt, labels="{5:kidney}")


def test_settings_that_exclude_each_other() -> None:
    config = PostprocessSearchConfig(runs=["a"], group="b", pred="c", overlap=1.0)
    assert [p.key for p in check(config)] == ["runs", "pred", "gt", "overlap"]
    assert [p.key for p in check(PostprocessSearchConfig(datasource="kits"))] == ["datasource"]
