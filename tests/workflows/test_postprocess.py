"""Which rules a command applies, and `fran postprocess` as a user types it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fran.bundle.members import read_bundle
from fran.bundle.write import write_bundle
from fran.errors import ConfigError
from fran.inference.postprocess import PostProcessed
from fran.inference.predictor import Predictor
from fran.io.checkpoint import read_model, write_checkpoint
from fran.io.files import read_json, write_json
from fran.projects.folders import ProjectFolders
from fran.projects.mask_labels import LabelRule
from fran.workflows.rules import check_postprocess, postprocessed


@pytest.fixture
def folders(tmp_path: Path) -> ProjectFolders:
    return ProjectFolders("kits", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid")


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    meta = {
        "format": 1, "run": "one", "project": "kits", "network": spec,
        "labels": {"values": [4], "names": {"4": "kidney"}}, "modality": "CT",
        "properties": {"intensity_clip_range": [-1, 1], "mean_fg": 0, "std_fg": 1},
        "spacing": [1.0, 1.0, 1.0], "patch_size": [4, 4, 4], "mode": "source",
    }  # fmt: skip
    state = {"network.weight": torch.zeros(2, 1, 1, 1, 1), "network.bias": torch.zeros(2)}
    write_checkpoint({"state_dict": state, "fran": meta}, tmp_path / "one.ckpt")
    return Predictor([read_model(tmp_path / "one.ckpt")], "cpu")


def _rules(path: Path, **rules: Any) -> None:
    write_json(path, {key.removeprefix("_"): rule for key, rule in rules.items()})


def test_the_rules_of_the_project(
    folders: ProjectFolders, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    assert postprocessed(predictor, True, folders) is predictor, "a project without rules"
    _rules(folders.mask_labels, _1={"name": "kidney", "dusting_threshold": 0, "k_largest": None})
    assert postprocessed(predictor, True, folders) is predictor, "rules that change nothing"
    _rules(folders.mask_labels, _1={"name": "kidney", "k_largest": 2}, _2={"name": "tumour", "k_largest": 1})
    assert postprocessed(predictor, False, folders) is predictor
    with caplog.at_level(logging.INFO):
        cleaned = postprocessed(predictor, True, folders)
    assert isinstance(cleaned, PostProcessed)
    assert cleaned.rules == {4: LabelRule("kidney", k_largest=2)}
    assert "the models do not predict 2 tumour" in caplog.text
    assert "kidney k_largest 2" in caplog.text


def test_the_rules_of_a_file(folders: ProjectFolders, predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    assert [p.key for p in check_postprocess(str(path))] == ["postprocess"]
    _rules(path, _4={"fill_holes": True})
    assert not check_postprocess(str(path))
    cleaned = postprocessed(predictor, str(path), folders)
    assert isinstance(cleaned, PostProcessed)
    assert cleaned.rules == {4: LabelRule("kidney", fill_holes=True)}
    _rules(path, _5={"fill_holes": True})
    with pytest.raises(ConfigError, match="do not predict 5, for which there are rules; they predict 4 kidney"):
        postprocessed(predictor, str(path), folders)


def test_rules_of_one_project_are_not_those_of_anothers_models(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = ProjectFolders("demo", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid")
    _rules(other.mask_labels, _1={"name": "kidney", "k_largest": 2})
    assert postprocessed(predictor, True, other) is predictor
    assert "another project" in caplog.text
    assert isinstance(postprocessed(predictor, str(other.mask_labels), other), PostProcessed)


def test_a_bundle_brings_its_rules(predictor: Predictor, tmp_path: Path) -> None:
    here = ProjectFolders("demo", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid")
    _rules(here.mask_labels, _4={"k_largest": 7})
    model = read_model(tmp_path / "one.ckpt")
    for carried, expected in (({"4": {"name": "kidney", "k_largest": 2}}, 2), ({}, None)):
        meta = {**model.meta, "postprocess": carried}
        folder = write_bundle([replace(model, meta=meta)], tmp_path / f"bundle_{expected}", formats=[]).path
        members = read_bundle(folder, tmp_path)
        cleaned = postprocessed(Predictor(members, "cpu"), True, here)
        assert (cleaned.rules[4].k_largest if isinstance(cleaned, PostProcessed) else None) == expected
        page = (folder / "docs" / "README.md").read_text()
        assert ("| 4 | kidney | `k_largest`: 2 |" in page) == (expected == 2)
        assert postprocessed(Predictor(members, "cpu"), str(here.mask_labels), here).rules[4].k_largest == 7
        with pytest.raises(ConfigError, match="bring the same rules"):
            postprocessed(Predictor([*members, model], "cpu"), True, here)
    tampered = {**model.meta, "postprocess": {"4": {"k_largest": "__import__('os')"}}}
    with pytest.raises(ConfigError, match="k_largest: expected a whole number"):
        postprocessed(Predictor([replace(model, meta=tampered)], "cpu"), True, here)


def test_the_command(fran, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lm = np.zeros((9, 7, 6), np.uint8)
    lm[1:4, 2:5, 1:4] = 1
    lm[8, 6, 5] = 1
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(lm, np.diag([1, 2, 3, 1])), tmp_path / "in" / "kits_1.nii.gz")
    _rules(tmp_path / "rules.json", _1={"name": "kidney", "dusting_threshold_mm3": 7})
    arguments = (f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", f"rules={tmp_path / 'rules.json'}")
    done = fran("postprocess", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["1", "kidney", "1", "1", "1", "0"]
    assert "1 label maps written, 0 finished before" in done.stderr
    assert np.asarray(nibabel.load(tmp_path / "out" / "kits_1.nii.gz").dataobj).sum() == 27
    removed = {"components": 2, "removed": 1, "removed_vox": 1, "removed_mm3": 6.0}
    assert read_json(tmp_path / "out" / "kits_1.json")["case"]["postprocess"] == {"1": removed}
    assert fran("postprocess", *arguments[:2]).returncode == 1, "no project, and no file of rules"
