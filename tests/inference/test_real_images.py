"""Real scans through a network that looks around: nothing but image and weights decides a voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fran.inference import layout
from fran.inference import predictor as predictor_module
from fran.inference.folder import predict_folder
from fran.inference.memory import MemoryPlan
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.volume import read_volume, stem
from fran.networks.build import build_network, fill_spec

pytestmark = pytest.mark.realdata

IMAGES = (
    ("kits/images/kits_00004.nii.gz", "CT", (5.0, 5.0, 8.0)),
    ("hippo/images", "MR", (1.2, 1.0, 1.5)),
    ("stsct/images", "CT", (5.0, 5.0, 8.0)),
    ("cord/images", "MR", (1.0, 1.0, 6.0)),
)


@pytest.fixture(params=IMAGES, ids=lambda given: given[0])
def case(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Path, str, tuple[float, ...]]:
    name, modality, spacing = request.param
    path = shared_data / name
    return (sorted(path.iterdir())[0] if path.is_dir() else path), modality, spacing


@pytest.fixture
def model(case: tuple[Path, str, tuple[float, ...]], make_model: Callable[..., ModelFile]) -> ModelFile:
    """A small U-Net whose random weights give every class a share of the image."""
    _, modality, spacing = case
    patch = (24, 16, 8)
    spec = {"_target_": "fran.networks.unet.unet", "filters": 4, "max_levels": 3}
    spec = fill_spec(spec, 1, 4, patch, spacing)
    labels = {"values": [1, 2, 9], "names": {}}
    properties = {"intensity_clip_range": [-300.0, 400.0], "mean_fg": 40.0, "std_fg": 90.0}
    meta = {"network": spec, "labels": labels, "patch_size": list(patch), "spacing": list(spacing)}
    written = make_model(modality=modality, properties=properties, **meta)
    torch.manual_seed(0)
    return ModelFile(written.path, written.meta, build_network(spec).state_dict())


def test_batches_windows_and_homes_match_voxel_for_voxel(
    case: tuple[Path, str, tuple[float, ...]], model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = read_volume(case[0])
    expected = Predictor([model], "cpu", tile_batch=1).predict(volume)
    assert len(np.unique(expected.array)) >= 3
    for tile_batch in (2, 7):
        found = Predictor([model], "cpu", tile_batch=tile_batch).predict(volume).array
        np.testing.assert_array_equal(found, expected.array, err_msg=f"tile_batch={tile_batch}")

    plan, planes = predictor_module.plan_memory, layout.window_planes

    def on_disk(*given: object) -> MemoryPlan:
        return replace(plan(*given), sums="disk")  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(predictor_module, "plan_memory", on_disk)
        found = Predictor([model], "cpu", tile_batch=1, scratch=tmp_path).predict(volume)
        assert found.facts["scores"] == "disk"
        np.testing.assert_array_equal(found.array, expected.array, err_msg="scores in a file")
    for spare in (1, 7, 10_000):
        monkeypatch.setattr(layout, "window_planes", lambda *a, more=spare: planes(*a) + more)
        found = Predictor([model], "cpu", tile_batch=1).predict(volume)
        np.testing.assert_array_equal(found.array, expected.array, err_msg=f"{spare} planes more")


def test_the_folder_writes_what_the_predictor_gives(
    shared_data: Path, make_model: Callable[..., ModelFile], tmp_path: Path
) -> None:
    """Reading ahead and writing beside the network change nothing."""
    model = make_model(
        modality="MR", properties={}, low=52.0, high=60.0, spacing=[1.0, 1.0, 1.0], patch_size=[32, 32, 32]
    )
    images = sorted((shared_data / "hippo" / "images").iterdir())[:4]
    predict_folder(Predictor([model], "cpu"), images, tmp_path, progress=False)
    for image in images:
        written = read_volume(tmp_path / f"{stem(image)}.nii.gz", role="lm")
        np.testing.assert_array_equal(written.array, Predictor([model], "cpu").predict(read_volume(image)).array)
        assert written.array.any()
