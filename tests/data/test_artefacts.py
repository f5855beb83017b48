"""TorchIO's transforms where it is installed; what is said where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fran import keys
from fran.augmentation.settings import AugmentationSettings
from fran.data.artefacts import Artefacts
from fran.data.crops import CropDataset
from fran.data.source import CaseSource
from fran.errors import ConfigError

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "conf" / "augmentation" / "mr.yaml").read_text())["transforms"]
PATCH = (20, 16, 12)


def alone(name):
    return {name: {**SHIPPED[name], "p": 1.0}}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_seed_decides_and_the_crop_keeps_its_kind(name, mr_manifest, labels):
    source = CaseSource(mr_manifest, sorted(mr_manifest.cases), labels, {})
    plain, spoilt = CropDataset(source, PATCH), CropDataset(source, PATCH, artefacts=Artefacts(alone(name)))
    state = torch.get_rng_state()
    a, b, again = plain[3], spoilt[3], spoilt[3]
    assert torch.equal(torch.get_rng_state(), state), "the network's generator is left alone"
    assert np.array_equal(b[keys.IMAGE], again[keys.IMAGE])
    assert (b[keys.IMAGE].shape, b[keys.IMAGE].dtype) == (PATCH, np.int16)
    assert not np.array_equal(a[keys.IMAGE], b[keys.IMAGE])
    assert np.array_equal(a[keys.LM], b[keys.LM])
    held = CaseSource(mr_manifest, sorted(mr_manifest.cases), labels, {})
    held.hold("device", torch.device("cpu"))
    there = CropDataset(held, PATCH, artefacts=Artefacts(alone(name)))[3]
    assert np.array_equal(there[keys.IMAGE].numpy(), b[keys.IMAGE])


def test_probabilities_are_met_and_nothing_drawn_is_the_crop_itself():
    spoil, crop = Artefacts({"bias": {"_target_": "torchio.RandomBiasField", "p": 0.3}}), np.ones((4, 5, 6), np.int16)
    window = np.array([1, 0, 0, 1, 0, 1], np.float32)
    assert np.mean([spoil(crop, window, seed) is not crop for seed in range(300)]) == pytest.approx(0.3, abs=0.08)


def test_what_cannot_be_used_is_said(monkeypatch):
    with pytest.raises(ConfigError, match=r"augmentation.transforms.x._target_: expected a transform of TorchIO"):
        Artefacts({"x": {"_target_": "os.system", "p": 1.0}})
    monkeypatch.setitem(sys.modules, "torchio", None)
    with pytest.raises(ConfigError, match=r"augmentation.transforms.x: needs TorchIO .*pip install 'fran\[mr\]'"):
        Artefacts({"x": {"_target_": "torchio.RandomMotion", "p": 1.0}})
    (problem,) = AugmentationSettings(transforms={"x": {"p": 2}}).problems()
    assert "_target_" in problem.expected


def test_unknown_transforms_and_arguments_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'RandomMotion'"):
        Artefacts({"x": {"_target_": "torchio.RandomMotoin"}})
    with pytest.raises(ConfigError, match="refused"):
        Artefacts({"x": {"_target_": "torchio.RandomMotion", "degree": 3}})
