"""The phantoms of tests/data, and the specification of a tiny training on them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("phantoms", Path(__file__).parents[1] / "data" / "conftest.py")
phantoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(phantoms)
manifest = phantoms.manifest


@pytest.fixture
def make_spec(manifest, tmp_path):
    """Function: keyword arguments of `TrainerSettings` to a `TrainSpec` of a small training."""
    from fran.data.datamodule import DataSpec
    from fran.training.fit import TrainSpec
    from fran.training.settings import OptimiserSettings, TrainerSettings, no_augmentation

    def make(network=None, *, name="run-1", augmentation=None, lr=1e-2, train=3, **trainer):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        ids = sorted(manifest.cases)
        data = DataSpec(manifest.folder, tuple(ids[:train]), tuple(ids[3:]), phantoms.LABELS, phantoms.CT_PROPERTIES)
        plain = {"max_epochs": 2, "steps_per_epoch": 3, "batch_size": 2, "accelerator": "cpu", "val_every_n_epochs": 1}
        settings = TrainerSettings(
            **{**plain, "precision": "32-true", "progress": False, **trainer}, optimiser=OptimiserSettings(lr=lr)
        )
        network = network or {"_target_": "torch.nn.Conv3d", "kernel_size": 3, "padding": 1}
        augment = augmentation or no_augmentation()
        return TrainSpec(
            folder, data, network, (24, 16, 16), phantoms.SPACING_MM, settings, augment, project="p", fold=0
        )

    return make
