"""Probabilities of the classes on the image's own voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from fran.errors import CasesFailed, ConfigError
from fran.inference.crops import CropRule
from fran.inference.folder import predict_folder
from fran.inference.predictor import Predictor
from fran.inference.probabilities import read_probabilities
from fran.inference.vote import Vote
from fran.io.checkpoint import ModelFile
from fran.io.volume import read_volume

MakeModel = Callable[..., ModelFile]
SHAPE, SPACING = (11, 9, 7), [0.8, 1.2, 3.0]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    raw = np.random.default_rng(3).integers(0, 120, SHAPE).astype(np.int16)
    path = tmp_path / "kits_1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(raw, np.diag([-0.8, 1.2, -3.0, 1.0])), path)
    return path


def test_softmax_of_the_logits_where_nothing_is_resampled(make_model: MakeModel, image: Path, tmp_path: Path) -> None:
    model = make_model(low=50.5, high=70.5, spacing=SPACING)
    predict_folder(Predictor([model], "cpu"), image, tmp_path / "out", progress=False, save_probabilities=True)
    found, names, attributes = read_probabilities(tmp_path / "out" / "kits_1_probabilities.h5")
    volume = read_volume(image)
    seen = (volume.array.astype(np.float32) - 50) / 10
    logits = model.state_dict["weight"].reshape(3, 1, 1, 1) * torch.from_numpy(seen.copy())
    logits += model.state_dict["bias"].reshape(3, 1, 1, 1)
    np.testing.assert_allclose(found, logits.softmax(0).numpy(), atol=2e-3)
    assert names == ["background", "kidney", "tumour"]
    np.testing.assert_allclose(attributes["affine"], volume.grid.affine)
    assert not list((tmp_path / "out").glob(".tmp*"))


@pytest.mark.parametrize("n_models", [1, 2])
def test_the_largest_is_the_label(n_models: int, make_model: MakeModel, image: Path, tmp_path: Path) -> None:
    """Resampled there and back, whole and as an ensemble."""
    models = [make_model(f"run{n}", low=50.5 + 9 * n, high=70.5, spacing=[1.0, 1.0, 2.2]) for n in range(n_models)]
    predictor = Predictor(models, "cpu")
    out = tmp_path / "out"
    predict_folder(predictor, image, out, progress=False, save_probabilities=True)
    found = read_probabilities(out / "kits_1_probabilities.h5")[0].astype(np.float32)
    lm = read_volume(out / "kits_1.nii.gz", role="lm").array
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=5e-3)
    first, second = np.sort(found, axis=0)[-1:-3:-1]
    clear = first - second > 2e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(predictor.labels.from_channels(found.argmax(0))[clear], lm[clear])


@pytest.mark.parametrize("empty", ["whole", "empty"])
def test_outside_a_crop_is_background(empty: str, make_model: MakeModel, image: Path, tmp_path: Path) -> None:
    seen = "low" if empty == "whole" else "blind"
    localiser = Predictor([make_model(seen, low=100.5 if seen == "low" else 890.0, high=895.0, spacing=SPACING)], "cpu")
    raw = np.zeros(SHAPE, np.int16)
    raw[3:5, 3:5, 3:5] = 110
    nibabel.save(nibabel.Nifti1Image(raw, np.diag([0.8, 1.2, 3.0, 1.0])), image)
    model = make_model("second", low=-90.0, high=895.0, spacing=SPACING, mode="rbd", patch_size=[2, 2, 2])
    rule = CropRule.of(model.meta, empty="empty")
    predictor = Predictor([model], "cpu", localiser=localiser, crop=rule)
    predict_folder(predictor, image, tmp_path / "out", progress=False, save_probabilities=True)
    found = read_probabilities(tmp_path / "out" / "kits_1_probabilities.h5")[0]
    inside = np.zeros(SHAPE, bool)
    if seen == "low":
        inside[3:5, 3:5, 3:5] = True
    assert (found[0][~inside] == 1).all() and (found[1:, ~inside] == 0).all()
    assert (found[0][inside] < 0.5).all()


def test_a_finished_case_without_them_is_done_again(make_model: MakeModel, image: Path, tmp_path: Path) -> None:
    predictor, out = Predictor([make_model(spacing=SPACING)], "cpu"), tmp_path / "out"
    assert predict_folder(predictor, image, out, progress=False).n_predicted == 1
    assert predict_folder(predictor, image, out, progress=False, save_probabilities=True).n_predicted == 1
    assert predict_folder(predictor, image, out, progress=False, save_probabilities=True).n_skipped == 1
    assert predict_folder(predictor, image, out, progress=False).n_skipped == 1
    vote = Vote([predictor, predictor])
    with pytest.raises((ConfigError, CasesFailed), match="ensemble=mean"):
        predict_folder(vote, image, tmp_path / "votes", progress=False, save_probabilities=True)
