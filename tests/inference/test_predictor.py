"""Whole volumes through checkpoints with a known answer, in every orientation and format."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from fran.errors import ConfigError, StoreError
from fran.geometry import Grid, Reorientation
from fran.inference.member import resolve_device
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.volume import read_native_grid, read_volume, write_label_map

MakeModel = Callable[..., ModelFile]
Rule = Callable[..., np.ndarray]
LOW, HIGH = 100.5, 300.5
SHAPE = (11, 7, 5)
TURNS = [Reorientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


def _ras_affine(spacing: tuple[float, float, float]) -> np.ndarray:
    a, b = np.deg2rad(9), np.deg2rad(-6)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x * np.array(spacing)
    affine[:3, 3] = [-41.0, 12.5, 310.0]
    return affine


def _raw(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-200, 600, SHAPE).astype(np.int16)


def _write_image(path: Path, native: np.ndarray, affine: np.ndarray) -> None:
    image = nibabel.Nifti1Image(native, affine)
    image.set_qform(None, code=0)
    nibabel.save(image, path)


def _write_itk(path: Path, native: np.ndarray, affine: np.ndarray) -> None:
    """NRRD or MetaImage by SimpleITK, whose arrays are (z, y, x) in an LPS frame."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(native.transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, path)


def _stored(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels in the file's own axis order, and the affine in the RAS frame, by nibabel or SimpleITK."""
    if path.name.endswith(".nii.gz"):
        image = nibabel.load(path)
        return np.asarray(image.dataobj), image.affine
    image = sitk.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_the_rule_comes_out_on_the_inputs_own_grid(
    turn: Reorientation, ending: str, make_model: MakeModel, rule: Rule, tmp_path: Path
) -> None:
    ras = Grid(SHAPE, _ras_affine((0.8, 1.2, 3.0)))
    native = np.ascontiguousarray(turn.invert(_raw()))
    inverse = Reorientation(tuple(np.argsort(turn.axes)), tuple(turn.flips[i] for i in np.argsort(turn.axes)))
    grid = inverse.apply_grid(ras)
    assert grid.shape == native.shape
    image, label_map = tmp_path / f"kits_1{ending}", tmp_path / "out" / f"kits_1{ending}"
    (_write_image if ending == ".nii.gz" else _write_itk)(image, native, grid.affine)

    volume = read_volume(image)
    predictor = Predictor([make_model()], "cpu", tile_batch=3)
    write_label_map(label_map, predictor.predict(volume).array, volume.native, predictor.labels.names)

    written, affine = _stored(label_map)
    np.testing.assert_array_equal(written, rule(native))
    np.testing.assert_allclose(affine, grid.affine, atol=1e-4)
    assert written.dtype == np.uint8


def test_other_spacing_is_resampled_there_and_back(make_model: MakeModel, tmp_path: Path) -> None:
    x, y, z = np.meshgrid(*(np.arange(n) for n in (40, 32, 16)), indexing="ij")
    ball = ((x - 20) * 0.8) ** 2 + ((y - 14) * 1.2) ** 2 + ((z - 8) * 3.0) ** 2 < 12**2
    raw = np.where(ball, 200, 0).astype(np.int16)
    _write_image(tmp_path / "kits_1.nii.gz", raw, _ras_affine((0.8, 1.2, 3.0)))
    volume = read_volume(tmp_path / "kits_1.nii.gz")
    found = Predictor([make_model(spacing=[1.3, 1.3, 2.2])], "cpu").predict(volume)
    assert found.array.shape == raw.shape
    both = ((found.array == 3) & ball).sum()
    assert 2 * both / ((found.array == 3).sum() + ball.sum()) > 0.93
    assert set(np.unique(found.array)) == {0, 3}


def test_a_volume_smaller_than_the_patch(make_model: MakeModel, rule: Rule, tmp_path: Path) -> None:
    raw = _raw(2)[:3, :4, :1]
    _write_image(tmp_path / "kits_1.nii.gz", raw, _ras_affine((0.8, 1.2, 3.0)))
    found = Predictor([make_model()], "cpu").predict(read_volume(tmp_path / "kits_1.nii.gz"))
    np.testing.assert_array_equal(found.array, rule(raw))


def test_mr_is_normalised_by_its_own_statistics(make_model: MakeModel, tmp_path: Path) -> None:
    """Multiplying an MR image by a constant must not change its label map."""
    raw = _raw(3).astype(np.float32) + 300
    found = []
    for number, factor in enumerate((1.0, 50.5)):
        path = tmp_path / f"hippo_{number}.nii.gz"
        _write_image(path, raw * np.float32(factor), _ras_affine((0.8, 1.2, 3.0)))
        model = make_model(modality="MR", properties={}, low=52.5, high=60.5)
        found.append(Predictor([model], "cpu").predict(read_volume(path)).array)
    assert np.mean(found[0] == found[1]) > 0.999
    assert set(np.unique(found[0])) == {0, 3, 117}


def test_an_ensemble_is_the_mean_of_the_probabilities(make_model: MakeModel, tmp_path: Path) -> None:
    raw = _raw(4)
    _write_image(tmp_path / "kits_1.nii.gz", raw, _ras_affine((0.8, 1.2, 3.0)))
    models = [make_model("run1"), make_model("run2", low=LOW + 150, high=HIGH + 150)]
    predictor = Predictor(models, "cpu")
    volume = read_volume(tmp_path / "kits_1.nii.gz")
    found = predictor.predict(volume).array
    seen = (np.clip(raw, -500, 900).astype(np.float64) - 50) / 10
    probabilities = 0.0
    for model in models:
        logits = torch.from_numpy(
            model.state_dict["weight"].double().numpy().reshape(3, 1, 1, 1) * seen
            + model.state_dict["bias"].double().numpy().reshape(3, 1, 1, 1)
        )
        probabilities = probabilities + logits.softmax(0)
    expected = predictor.labels.from_channels(np.asarray(probabilities.argmax(0)))
    np.testing.assert_array_equal(found, expected)
    alone = [Predictor([model], "cpu").predict(volume).array for model in models]
    assert not np.array_equal(found, alone[0])
    assert not np.array_equal(found, alone[1])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"spacing": [1.0, 1.0, 1.0]}, "spacing"),
        ({"labels": {"values": [3, 5], "names": {}}}, "labels"),
        ({"modality": "MR"}, "modality"),
    ],
)
def test_models_that_do_not_belong_together(change: dict[str, object], word: str, make_model: MakeModel) -> None:
    models = [make_model("run1"), make_model("run2", **change)]
    with pytest.raises(ConfigError, match=rf"one {word}.*run1.*run2"):
        Predictor(models, "cpu")


def test_models_that_cannot_be_used(make_model: MakeModel) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Predictor([], "cpu")
    with pytest.raises(ConfigError, match="mode 'video'"):
        Predictor([make_model(mode="video")], "cpu")
    with pytest.raises(ConfigError, match="intensity_clip_range"):
        Predictor([make_model(properties={})], "cpu")
    model = make_model()
    wrong = ModelFile(model.path, model.meta, {"weight": model.state_dict["weight"]})
    with pytest.raises(StoreError, match=r"best\.ckpt.*do not fit"):
        Predictor([wrong], "cpu")


def test_devices(make_model: MakeModel) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device: found 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(ConfigError, match="CUDA devices"):
        resolve_device("cuda:99")
    with pytest.raises(ConfigError, match="precision"):
        Predictor([make_model()], "cpu", precision="64")
    with pytest.raises(ConfigError, match="16 needs a GPU"):
        Predictor([make_model()], "cpu", precision="16")


def test_bf16_is_close(make_model: MakeModel, rule: Rule, tmp_path: Path) -> None:
    raw = _raw(5)
    _write_image(tmp_path / "kits_1.nii.gz", raw, _ras_affine((0.8, 1.2, 3.0)))
    found = Predictor([make_model()], "cpu", precision="bf16").predict(read_volume(tmp_path / "kits_1.nii.gz"))
    assert np.mean(found.array == rule(raw)) > 0.97


def test_the_grid_is_read_from_the_header(make_model: MakeModel, tmp_path: Path) -> None:
    _write_image(tmp_path / "kits_1.nii.gz", _raw(), _ras_affine((0.8, 1.2, 3.0)))
    volume = read_volume(tmp_path / "kits_1.nii.gz")
    write_label_map(tmp_path / "out.mha", Predictor([make_model()], "cpu").predict(volume).array, volume.native)
    assert read_native_grid(tmp_path / "out.mha").allclose(read_native_grid(tmp_path / "kits_1.nii.gz"))
