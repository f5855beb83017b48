"""Whatever way a folder is predicted, nothing but image and weights decides a voxel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fran.inference.case import Segmenter
from fran.inference.folder import predict_folder
from fran.inference.memory import used_memory
from fran.inference.pool import Pool
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.files import read_json
from fran.io.volume import read_volume, stem
from fran.networks.build import build_network
from fran.parallel.actors import Actors

N_LABELS = 300
PATCH = (16, 12, 8)
SPACING = (4.0, 4.0, 5.0)


@pytest.fixture
def model(make_model: Callable[..., ModelFile]) -> ModelFile:
    """A small U-Net with many classes, whose random weights give many of them a share."""
    spec = {"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1, "channels": [4, 8]}
    spec |= {"out_channels": N_LABELS + 1, "strides": [2], "num_res_units": 0}
    properties = {"intensity_clip_range": [-300.0, 400.0], "mean_fg": 40.0, "std_fg": 90.0}
    labels = {"values": list(range(1, N_LABELS + 1)), "names": {}}
    meta = {"network": spec, "labels": labels, "patch_size": list(PATCH), "spacing": list(SPACING)}
    torch.manual_seed(0)
    state = build_network(spec).state_dict()
    return make_model(properties=properties, state=state, **meta)


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    """An image in another orientation and on another spacing than the network's."""
    affine = np.array([[0, 3.4, 0, 5], [0, 0, 4.4, 6], [-5.8, 0, 0, 7], [0, 0, 0, 1]])
    raw = np.random.default_rng(0).normal(50, 150, (29, 41, 37)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(raw, affine), tmp_path / "kits_0.nii.gz")
    return tmp_path / "kits_0.nii.gz"


def one(model: ModelFile, address: str) -> Segmenter | Pool:
    return Predictor([model], "cpu", tile_batch=1, precision="32")


def batched(model: ModelFile, address: str) -> Segmenter | Pool:
    return Predictor([model], "cpu", tile_batch=5, precision="32")


def slabs(model: ModelFile, address: str) -> Segmenter | Pool:
    """So little memory that the scores of a few planes are in a file."""
    predictor = Predictor([model], "cpu", tile_batch=1, precision="32")
    predictor.ram = used_memory() + 20_000_000
    return predictor


def cluster(model: ModelFile, address: str) -> Segmenter | Pool:
    return Pool(partial(Predictor, [model], "cpu", precision="32"), "CT", Actors(address, count=2, num_cpus=1))


WAYS = [batched, slabs, pytest.param(cluster, marks=pytest.mark.slow)]


@pytest.fixture
def ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a cluster, which is started for the way that needs it."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    if request.getfixturevalue("way") is not cluster:
        return ""
    return str(request.getfixturevalue("ray_address"))


def _check(way: Any, model: ModelFile, ray: str, images: Any, tmp_path: Path) -> None:
    expected = predict_folder(one(model, ray), images, tmp_path / "one", progress=False)
    predict_folder(way(model, ray), images, tmp_path / "other", progress=False)
    for case in expected.cases:
        wanted, found = (read_volume(tmp_path / place / case.label_map.name, role="lm") for place in ("one", "other"))
        assert len(np.unique(wanted.array)) > 5
        np.testing.assert_array_equal(found.array, wanted.array)
        np.testing.assert_array_equal(found.native.affine, wanted.native.affine)
        facts = read_json(tmp_path / "other" / f"{stem(case.label_map)}.json")["case"]
        assert facts["scores"] == ("disk" if way is slabs else "memory")


@pytest.mark.parametrize("way", WAYS)
def test_a_phantom(way: Any, model: ModelFile, ray: str, phantom: Path, tmp_path: Path) -> None:
    _check(way, model, ray, phantom, tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize("way", WAYS)
def test_a_real_scan(way: Any, model: ModelFile, ray: str, shared_data: Path, tmp_path: Path) -> None:
    _check(way, model, ray, sorted((shared_data / "spleenct" / "images").iterdir())[0], tmp_path)
