from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fran import keys
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.settings import AugmentationSettings
from fran.data import datamodule, source
from fran.data.cache import CACHES, choose_cache, room_in_memory, room_on, volumes_bytes
from fran.data.crops import CropDataset
from fran.data.datamodule import CropDataModule, DataSpec
from fran.data.source import CaseSource
from fran.errors import ConfigError
from tests.data.test_datamodule import PATCH, SPACING_MM, same

MOVING = BatchAugmentation(AugmentationSettings(rotation_p=0.5), SPACING_MM)


@pytest.fixture
def data(manifest, labels, ct_properties):
    return DataSpec(manifest.folder, ("case0", "case1", "case2"), ("case3", "case4"), labels, ct_properties)


def module(data, cache, **options):
    made = CropDataModule(data, PATCH, 2, 6, seed=5, cache=cache, margins=MOVING.margins, **options)
    made.setup("fit")
    return made


@pytest.mark.parametrize("patch", [PATCH, (40, 16, 30)])
def test_every_cache_gives_the_same_batches(data, patch):
    def batches(cache, workers):
        made = CropDataModule(data, patch, 2, 6, seed=5, cache=cache, margins=MOVING.margins, num_workers=workers)
        made.setup("fit")
        return list(made.train_dataloader()), list(made.val_dataloader())

    read = batches("none", 0)
    assert any(keys.WIDE in batch for batch in read[0])
    assert all(same(batches(cache, workers), read) for cache, workers in (("ram", 0), ("ram", 2), ("device", 2)))


@pytest.mark.parametrize("samples", [True, False], ids=["samples of the foreground", "boxes alone"])
@pytest.mark.parametrize("cache", ["ram", "device"])
def test_kept_cases_open_no_file_for_a_crop(data, monkeypatch, cache, samples):
    monkeypatch.setattr(source, "MAX_CACHED_FOREGROUND", 1)
    monkeypatch.setattr(CaseSource, "has_foreground_samples", samples)
    expected = list(module(data, "none", num_workers=0).train_dataloader())
    made = module(data, cache, num_workers=0)
    monkeypatch.setattr(CaseSource, "reader", None)
    assert same(list(made.train_dataloader()), expected)


def test_crops_of_a_device_are_cut_there_without_loader_processes(data):
    made = module(data, "device", num_workers=2)
    loader = made.train_dataloader()
    assert (loader.num_workers, loader.pin_memory) == (0, False)
    volumes = made.crops.source._volumes.values()
    assert len(volumes) == 3
    assert all(isinstance(array, torch.Tensor) for pair in volumes for array in pair)
    assert made.cases is not None and made.cases.source.cache == "none", "validation is read from the files"


def test_samples_of_the_foreground_count_as_memory(data, monkeypatch):
    held = module(data, "ram").crops.source
    need = held.bytes() + module(data, "ram").cases.source.bytes()
    kept = sum(array.nbytes for array in held._foreground.values())
    assert 0 < kept <= held.foreground_bytes()
    for cache, room in (("ram", need + kept - 1), ("device", kept - 1)):
        monkeypatch.setattr(datamodule, "room_in_memory", lambda room=room: room)
        monkeypatch.setattr(datamodule, "room_on", lambda device: 10**9)
        assert module(data, cache).crops.source.cache == "none"


def test_processes_of_a_training_share_the_memory(data, monkeypatch):
    need = sum(s.bytes() + s.foreground_bytes() for s in (module(data, "ram").crops.source,))
    need += module(data, "ram").cases.source.bytes()
    monkeypatch.setattr(datamodule, "room_in_memory", lambda: 3 * need - 1)
    assert [module(data, "ram", ranks=n).crops.source.cache for n in (1, 2, 3)] == ["ram", "ram", "none"]
    assert [module(data, "device", ranks=n).crops.source.cache for n in (2, 99)] == ["device", "none"]


@given(*[st.integers(0, 10**12)] * 4)
def test_what_is_chosen_fits(train, val, device_free, ram_free):
    for wanted in CACHES:
        chosen = choose_cache(wanted, train, val, device_free, ram_free)
        assert CACHES.index(chosen.kind) <= CACHES.index(wanted)
        assert chosen.less == (chosen.kind != wanted)
        assert {"device": train <= device_free, "ram": train + val <= ram_free, "none": True}[chosen.kind]
        if wanted == "device" and chosen.less:
            assert train > device_free


def test_a_lack_of_memory_is_said_with_figures(data, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "fran.data")
    need = module(data, "ram").crops.source.bytes()
    assert need == sum(np.prod(s) for s in [(36, 29, 22), (33, 31, 20), (24, 40, 18)]) * 3
    assert "once for all loader processes" in caplog.text
    assert choose_cache("device", need, need, need - 1, 10 * need).says.endswith(
        "the device has 0.18 MB for data; kept in memory instead"
    )
    monkeypatch.setattr(datamodule, "room_in_memory", lambda: need)
    assert module(data, "ram").crops.source.cache == "none"
    assert caplog.records[-1].levelno == logging.WARNING
    assert "memory has 0.18 MB for data; crops are read from the files instead" in caplog.text


def test_room_is_less_than_what_the_machine_has():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < room_on(torch.device("cpu")) <= 1.02 * room_in_memory() < total
    assert volumes_bytes([(2, 3, 4)], 4) == 144


def test_unknown_caches_are_refused(manifest, labels, ct_properties):
    with pytest.raises(ConfigError, match="did you mean 'ram'"):
        CaseSource(manifest, ["case0"], labels, ct_properties, cache="rams")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loader_processes_share_the_cases_in_memory(data):
    made = module(data, "ram", num_workers=2)
    source = made.crops.source
    # as large as real data: what a process copies shows against its own few MB
    for case_id, (_, channels) in list(source._volumes.items()):
        size = (300, 400, 100)
        source._volumes[case_id] = np.ones(size, np.int16), np.resize(channels, size)
    loader = iter(made.train_dataloader())
    assert len([next(loader) for _ in range(6)]) == 6
    cases = sum(a.nbytes for pair in source._volumes.values() for a in pair)
    for worker in loader._workers:
        rows = Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()
        private = sum(int(row.split()[1]) for row in rows if row.startswith("Private_Dirty")) * 1024
        assert private < cases / 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_crops_of_a_gpu_are_the_same(manifest, labels, ct_properties):
    plain, there = (CaseSource(manifest, ["case0"], labels, ct_properties) for _ in range(2))
    there.hold("device", torch.device("cuda"))
    a, b = (CropDataset(source, PATCH, margins=MOVING.margins) for source in (plain, there))
    for i in range(8):
        assert b[i][keys.IMAGE].is_cuda
        assert np.array_equal(a[i][keys.IMAGE], b[i][keys.IMAGE].cpu().numpy())
        assert np.array_equal(a[i][keys.LM], b[i][keys.LM].cpu().numpy())
