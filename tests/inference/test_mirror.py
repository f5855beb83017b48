"""Looking at tiles mirrored: the mean of probabilities, and labels that change sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from fran.errors import ConfigError
from fran.inference.mirror import trained_axes, views
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.volume import Volume, read_volume

MakeModel = Callable[..., ModelFile]
PATCH = (8, 7, 6)
SPACING = [0.8, 1.2, 3.0]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """As large as one tile, so that mirroring tiles is mirroring the volume."""
    raw = np.random.default_rng(5).integers(0, 120, PATCH).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(raw, np.diag([*SPACING, 1.0])), tmp_path / "kits_1.nii.gz")
    return read_volume(tmp_path / "kits_1.nii.gz")


def _model(make_model: MakeModel, names: tuple[str, str] = ("kidney", "tumour"), **meta: object) -> ModelFile:
    """A convolution whose kernel knows left from right, so that mirroring changes what it says."""
    spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 3, "padding": 1}
    labels = {"values": [1, 2], "names": {"1": names[0], "2": names[1]}}
    model = make_model(network=spec, patch_size=list(PATCH), spacing=SPACING, labels=labels, **meta)
    weight = torch.randn((3, 1, 3, 3, 3), generator=torch.Generator().manual_seed(1)) / 10
    return ModelFile(model.path, model.meta, {"weight": weight, "bias": torch.zeros(3)})


def _probabilities(model: ModelFile, raw: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    seen = (np.flip(raw, axes).astype(np.float32) - 50) / 10
    weight = model.state_dict["weight"]
    out = torch.nn.functional.conv3d(torch.from_numpy(seen.copy())[None, None], weight, padding=1)[0].softmax(0)
    return np.flip(out.numpy(), [a + 1 for a in axes])


def test_the_mean_over_the_mirrored_views(make_model: MakeModel, volume: Volume) -> None:
    model = _model(make_model)
    predictor = Predictor([model], "cpu", mirror=["x", "z"])
    found = predictor.predict(volume).array
    mean = sum(_probabilities(model, volume.array, axes) for axes in ((), (0,), (2,), (0, 2)))
    np.testing.assert_array_equal(found, mean.argmax(0))
    assert not np.array_equal(found, Predictor([model], "cpu").predict(volume).array)
    assert predictor.describe()["settings"]["mirror"] == ["x", "z"]


def test_left_and_right_change_places(make_model: MakeModel, volume: Volume) -> None:
    model = _model(make_model, names=("kidney_left", "Kidney right"))
    with pytest.raises(ConfigError, match="along x the label 'kidney_left' would change sides"):
        Predictor([model], "cpu", mirror=["x"])
    model = _model(make_model, names=("kidney_left", "kidney_right"))
    found = Predictor([model], "cpu", mirror=["x", "y"]).predict(volume).array
    mean = 0.0
    for axes in ((), (0,), (1,), (0, 1)):
        part = _probabilities(model, volume.array, axes)
        mean = mean + (part[[0, 2, 1]] if 0 in axes else part)
    np.testing.assert_array_equal(found, mean.argmax(0))


def test_which_axes(make_model: MakeModel) -> None:
    assert [v.axes for v in views(["z", "x"], ["background"])] == [(), (0,), (2,), (0, 2)]
    with pytest.raises(ConfigError, match=r"x, y, z, or auto, found w"):
        views(["w"], ["background"])
    config = {"augmentation": {"flip_p": [0.5, 0.5, 0.0]}}
    assert trained_axes(config, ["liver"]) == ["x", "y"]
    assert trained_axes(config, ["lung_left"]) == ["y"]
    assert trained_axes({"augmentation": {**config["augmentation"], "flip_lateral_labels": True}}, ["lung_left"]) == [
        "x",
        "y",
    ]
    assert trained_axes({}, ["liver"]) == []
    models = [_model(make_model, config=config), _model(make_model, config={"augmentation": {"flip_p": [1.0, 0, 0]}})]
    assert Predictor(models, "cpu", mirror="auto").mirror == ("x",)
