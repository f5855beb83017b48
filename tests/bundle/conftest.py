"""Runs with small real networks, and the images they predict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fran.io.checkpoint import ModelFile, read_model, write_checkpoint
from fran.networks.build import build_network

PATCH = [16, 12, 8]
SPACING = [1.0, 1.25, 2.0]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., ModelFile]:
    """Make a run of project kits in the home that `fran` uses; weights are drawn."""

    def make(name: str, seed: int = 0, modality: str = "CT", target: str | None = None, **meta: Any) -> ModelFile:
        spec: dict[str, Any] = {
            "_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3,
            "channels": [4, 8], "strides": [2], "num_res_units": 1,
        }  # fmt: skip
        if target is not None:
            spec = {"_target_": target, "in_channels": 1, "out_channels": 3, "patch_size": PATCH, "spacing": SPACING}
            spec["filters"] = 4
        if target == "torch.nn.Conv3d":  # sees one voxel alone, so that tiles cannot matter
            spec = {"_target_": target, "in_channels": 1, "out_channels": 3, "kernel_size": 1}
        torch.manual_seed(seed)
        network = build_network(spec)
        description = {
            "format": 1, "run": name, "project": "kits", "network": spec, "modality": modality, "mode": "source",
            "labels": {"values": [3, 117], "names": {"3": "kidney", "117": "tumour"}}, "fold": 0,
            "properties": {"intensity_clip_range": [-200.0, 300.0], "mean_fg": 50.0, "std_fg": 80.0},
            "spacing": SPACING, "patch_size": PATCH,
            "datasets": {"manifest": "/secret/x.json", "digest": "abc", "train": ["jane_doe"]},
            "config": {"paths": {"cold": "/secret/y"}, "tracking": {"uri": "http://a:secret@host"}},
            **meta,
        }  # fmt: skip
        state = {f"network.{key}": value for key, value in network.state_dict().items()}
        path = tmp_path / "home" / "cold" / "checkpoints" / "kits" / name / "best.ckpt"
        write_checkpoint({"state_dict": state, "fran": description}, path)
        return read_model(path)

    return make


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with one image on the networks' own spacing, in another orientation, and one that must be resampled."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, affine in (
        ("kits_1", np.diag([-1.0, -1.25, 2.0, 1.0])),
        ("kits_2", np.diag([0.9, 1.4, 2.5, 1.0])),
    ):
        array = rng.normal(50, 120, (21, 17, 11)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    return folder
