"""What `fran infer` applies: runs, their localiser as the checkpoint or the command says, a vote."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fran.errors import ConfigError, StoreError
from fran.inference.crops import GuideFolder
from fran.inference.predictor import Predictor
from fran.inference.vote import Vote
from fran.io.checkpoint import write_checkpoint
from fran.projects.folders import ProjectFolders
from fran.workflows.model_sources import ModelSources
from fran.workflows.predictors import segmenter
from fran.workflows.schema import InferConfig


def _run(checkpoints: Path, name: str, mode: str = "source", **config: Any) -> None:
    spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    meta = {
        "format": 1, "run": name, "network": spec, "labels": {"values": [1], "names": {"1": "kidney"}},
        "modality": "CT", "properties": {"intensity_clip_range": [-1, 1], "mean_fg": 0, "std_fg": 1},
        "spacing": [1.0, 1.0, 1.0], "patch_size": [4, 4, 4], "mode": mode, "config": {"mode": mode, **config},
    }  # fmt: skip
    state = {"network.weight": torch.zeros(2, 1, 1, 1, 1), "network.bias": torch.zeros(2)}
    write_checkpoint({"state_dict": state, "fran": meta}, checkpoints / name / "last.ckpt")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    _run(folder, "plain")
    _run(folder, "around", "rbd", localiser="plain", localiser_regions=["kidney"], expand_by=7.0)
    _run(folder, "lost", "rbd", localiser="gone", expand_by=7.0)
    _run(folder, "imported", "rbd", imported_folder="/somewhere/maps")
    _run(folder, "labelled", "lbd", expand_by=5.0)
    return folder


def _segmenter(checkpoints: Path, *runs: str, **settings: Any) -> Any:
    config = InferConfig(runs=list(runs), input="x", device="cpu", **settings)
    # the runs' folder itself stands for that of a project: <root>/<title>
    folders = ProjectFolders(checkpoints.name, *[checkpoints.parent] * 4)
    sources = ModelSources(folders)
    return segmenter(config, [sources.read(run) for run in runs], sources)


def test_the_localiser_of_the_checkpoint(checkpoints: Path) -> None:
    predictor = _segmenter(checkpoints, "around")
    assert isinstance(predictor.localiser, Predictor)
    assert predictor.describe()["localiser"] == {
        "models": predictor.localiser.describe()["models"],
        "margin_mm": 7.0,
        "regions": [1],
        "empty": "whole",
    }
    assert _segmenter(checkpoints, "around", localiser="none").localiser is None
    assert _segmenter(checkpoints, "around", margin_mm=2.5, localiser_empty="empty").crop.margin_mm == 2.5


def test_a_localiser_that_is_not_there(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"predictions of 'gone'.*localiser=none"):
        _segmenter(checkpoints, "lost")
    with pytest.raises(ConfigError, match=r"label maps in /somewhere/maps.*localiser=<folder"):
        _segmenter(checkpoints, "imported")
    with pytest.raises(StoreError, match=r"localiser: no checkpoint of 'plane'.*plain"):
        _segmenter(checkpoints, "plain", localiser="plane")
    with pytest.raises(ConfigError, match="'around' needs a localiser itself"):
        _segmenter(checkpoints, "plain", localiser="around")


def test_a_folder_of_label_maps(checkpoints: Path, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "kits_1.nii.gz")
    predictor = _segmenter(checkpoints, "imported", localiser=str(tmp_path))
    assert isinstance(predictor.localiser, GuideFolder)
    assert list(predictor.localiser.files) == ["kits_1"]
    named = _segmenter(checkpoints, "imported", localiser=str(tmp_path), localiser_regions=["spleen", "9"])
    assert named.describe()["localiser"]["regions"] == [1, 9]


def test_a_model_trained_on_its_labels_sees_whole_images_and_says_so(
    checkpoints: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert _segmenter(checkpoints, "labelled").localiser is None
    assert "labelled was trained on crops around its labels" in caplog.text


def test_a_vote_goes_each_its_own_way(checkpoints: Path) -> None:
    vote = _segmenter(checkpoints, "plain", "around", ensemble="vote")
    assert isinstance(vote, Vote)
    assert [p.localiser is None for p in vote.predictors] == [True, False]
    with pytest.raises(ConfigError, match="one mode"):
        _segmenter(checkpoints, "plain", "around")
