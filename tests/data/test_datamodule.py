from __future__ import annotations

import os

import pytest
import torch

from fran import keys
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.settings import AugmentationSettings
from fran.data.datamodule import CropDataModule, DataSpec, resolve_workers, spread
from fran.errors import ConfigError, StoreError

PATCH = (16, 16, 8)
SPACING_MM = (1.0, 1.2, 2.5)


@pytest.fixture
def data(manifest, labels, ct_properties):
    return DataSpec(manifest.folder, ("case0", "case1", "case2"), ("case3", "case4"), labels, ct_properties)


def batches(data, workers, **options):
    module = CropDataModule(data, PATCH, 2, 3, seed=5, num_workers=workers, **options)
    module.setup("fit")
    loader = module.train_dataloader()
    loader.sampler.set_epoch(1)
    return list(loader)


def same(a, b):
    """Whether two batches are equal, voxel by voxel and after augmentation."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("samples_per_file", [1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(data, samples_per_file):
    moving = BatchAugmentation(AugmentationSettings(rotation_p=0.5), SPACING_MM)
    options = {"samples_per_file": samples_per_file, "margins": moving.margins}
    alone, shared = (batches(data, workers, **options) for workers in (0, 2))
    assert len(alone) == 3
    assert any(keys.WIDE in batch for batch in alone)
    for a, b in zip(alone, shared, strict=True):
        assert same(a, b)
    assert alone[0][keys.IMAGE].shape == (2, 1, *PATCH)


def test_validation_yields_whole_cases(data, manifest):
    cases = list(CropDataModule(data, PATCH, 2, 3, num_workers=0).val_dataloader())
    assert [c[keys.CASE_ID] for c in cases] == [["case3"], ["case4"]]
    assert tuple(cases[0][keys.IMAGE].shape[2:]) == manifest.cases["case3"].shape


def test_leaking_folds_are_refused(data, manifest, labels):
    with pytest.raises(ConfigError, match="found in both: \\['case1'\\]"):
        CropDataModule(DataSpec(manifest.folder, ("case0", "case1"), ("case1",), labels), PATCH, 2, 3)


def test_missing_manifest_and_odd_sizes(data, tmp_path, labels):
    with pytest.raises(StoreError, match="fran preprocess"):
        CropDataModule(DataSpec(tmp_path, ("a",), (), labels), PATCH, 2, 3)
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        CropDataModule(data, PATCH, 0, 3)


def test_no_validation_cases(manifest, labels, ct_properties):
    data = DataSpec(manifest.folder, ("case0",), (), labels, ct_properties)
    assert CropDataModule(data, PATCH, 1, 1, num_workers=0).val_dataloader() == []


def test_workers_and_spread(monkeypatch):
    assert resolve_workers(-1, on_gpu=False) == 0
    assert resolve_workers(3, on_gpu=True) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    assert [resolve_workers(-1, on_gpu=True, ranks=n) for n in (1, 2, 4, 16)] == [7, 3, 1, 0]
    with pytest.raises(ConfigError, match="num_workers"):
        resolve_workers(-2, on_gpu=True)
    assert spread(list("abcdef"), 3) == ("a", "c", "e")
    assert spread(["a"], 0) == ("a",)
