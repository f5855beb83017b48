"""The phantoms of tests/data, and the specification of a tiny training on them."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("phantoms", Path(__file__).parents[1] / "data" / "conftest.py")
phantoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(phantoms)
manifest = phantoms.manifest


@pytest.fixture(scope="session")
def two_sources(tmp_path_factory):
    """Manifest of two sources with the same images: `full` draws organ (3) and lesion (7), `half` the organ alone."""
    from fran.io.manifest import Manifest

    folder = tmp_path_factory.mktemp("two_sources")
    made = Manifest(folder, "source", {"spacing": list(phantoms.SPACING_MM)}, "stagekey")
    for number in range(11):
        source, drawn = ("full", (3, 7)) if number < 5 else ("half", (3,))
        shape = ((36, 29, 22), (33, 31, 20), (24, 40, 18))[number % 3]
        case_id = f"{source}{number}"
        made.cases[case_id] = phantoms.make_case(folder, case_id, number, shape, datasource=source, drawn=drawn)
    made.save()
    return made


def small_spec(manifest, parent, network=None, *, name="run-1", augmentation=None, lr=1e-2, train=3, **trainer):
    """A `TrainSpec` of a small training in the folder `name` of `parent`; the rest is for `TrainerSettings`."""
    from fran.data.datamodule import DataSpec
    from fran.training.settings import OptimiserSettings, TrainerSettings, no_augmentation
    from fran.training.spec import TrainSpec

    folder = parent / name
    folder.mkdir(exist_ok=True)
    ids = sorted(manifest.cases)
    data = DataSpec(manifest.folder, tuple(ids[:train]), tuple(ids[3:]), phantoms.LABELS, phantoms.CT_PROPERTIES)
    plain = {"max_epochs": 2, "steps_per_epoch": 3, "batch_size": 2, "accelerator": "cpu", "val_every_n_epochs": 1}
    settings = TrainerSettings(
        **{**plain, "precision": "32-true", "progress": False, **trainer}, optimiser=OptimiserSettings(lr=lr)
    )
    network = network or {"_target_": "torch.nn.Conv3d", "kernel_size": 3, "padding": 1}
    augment = augmentation or no_augmentation()
    return TrainSpec(folder, data, network, (24, 16, 16), phantoms.SPACING_MM, settings, augment, project="p", fold=0)


@pytest.fixture
def make_spec(manifest, tmp_path):
    """Function: keyword arguments of `TrainerSettings` to a `TrainSpec` of a small training."""
    return partial(small_spec, manifest, tmp_path)


@pytest.fixture(scope="session")
def trained(manifest, tmp_path_factory):
    """Folder of a run of a small DynUNet that has learnt something."""
    from fran.training.fit import fit

    network = {"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 32}
    folder = tmp_path_factory.mktemp("trained")
    return fit(small_spec(manifest, folder, network, steps_per_epoch=40, max_epochs=1, val_every_n_epochs=0)).run_folder
