"""The shipped configuration files fill the settings' dataclasses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from fran.networks.build import build_network, check_patch_size, fill_spec
from fran.training.optimisers import make_optimiser
from fran.training.settings import AugmentationSettings, LossSettings, OptimiserSettings, TrainerSettings

CONF = Path(__file__).parents[2] / "conf"


def load(group: str, name: str) -> dict:
    plain = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    merged: dict = {}
    for parent in plain.pop("defaults", ["_self_"]):
        if isinstance(parent, dict):
            ((key, option),) = parent.items()
            key = key.removeprefix("override ")
            merged[key] = load(f"{group}/{key}", option)
        else:
            merged = merge(merged, plain if parent == "_self_" else load(group, parent))
    return merged


def merge(below: dict, above: dict) -> dict:
    both = {k: merge(below[k], v) for k, v in above.items() if isinstance(v, dict) and isinstance(below.get(k), dict)}
    return {**below, **above, **both}


def names(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", names("trainer"))
def test_trainer(name):
    plain = load("trainer", name)
    optimiser, loss = OptimiserSettings(**plain.pop("optimiser")), LossSettings(**plain.pop("loss"))
    settings = TrainerSettings(**plain, optimiser=optimiser, loss=loss)
    settings.check()
    if name == "default":
        assert settings == TrainerSettings()


@pytest.mark.parametrize("name", names("trainer/optimiser"))
def test_optimiser(name):
    settings = OptimiserSettings(**load("trainer/optimiser", name))
    assert not settings.problems()
    assert (name == "adamw_cosine") == (settings == OptimiserSettings())
    optimiser = make_optimiser(torch.nn.Conv3d(1, 2, 3), settings)
    assert type(optimiser).__name__.lower() == settings.name


@pytest.mark.parametrize("name", names("trainer/loss"))
def test_loss(name):
    settings = LossSettings(**load("trainer/loss", name))
    assert not settings.problems()
    assert (name == "dice_ce") == (settings == LossSettings())


@pytest.mark.parametrize("name", names("augmentation"))
def test_augmentation(name):
    settings = AugmentationSettings(**load("augmentation", name))
    settings.check()
    if name == "default":
        assert settings == AugmentationSettings()
    if name == "none":
        assert not any(p for k, p in vars(settings).items() if k.endswith("_p") and k != "flip_p")
        assert not any(settings.flip_p)


@pytest.mark.parametrize("name", names("model"))
def test_model(name):
    # a whole specification alone; what inherits is composed in tests/networks/test_presets.py
    if "defaults" in load("model", name):
        return
    patch = (64, 64, 64) if name == "swinunetr" else (64, 64, 48)
    spec = fill_spec(load("model", name), 1, 3, patch, (1.5, 1.5, 3.0))
    check_patch_size(spec, patch)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_network(spec).parameters())
    assert 1e6 < parameters < 2e8
