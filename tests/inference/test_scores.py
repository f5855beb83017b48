"""Scores in bounded memory: where they live never changes the label map, and memory hardly grows with classes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from fran.errors import ConfigError, DataError, StoreError
from fran.inference import layout
from fran.inference import predictor as predictor_module
from fran.inference.memory import MemoryPlan, Needs, parse_bytes, plan_memory
from fran.inference.predictor import Predictor
from fran.inference.scores import DiskTensor
from fran.io.checkpoint import ModelFile
from fran.io.volume import Volume, read_volume

MakeModel = Callable[..., ModelFile]
GB = 10**9


def test_a_tensor_on_disk_is_zero_and_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = DiskTensor((3, 4, 5), tmp_path)
    assert disk.tensor.shape == (3, 4, 5)
    assert not disk.tensor.any()
    disk.tensor += 2
    disk.let_go()
    assert disk.tensor.sum() == 120
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="scratch"):
        DiskTensor((1 << 20, 1 << 20, 1 << 10), tmp_path)


def test_sizes_in_words() -> None:
    assert parse_bytes(None) is None
    assert parse_bytes("auto") is None
    assert parse_bytes(12) == 12
    assert parse_bytes("500 MiB") == 500 * 2**20
    assert parse_bytes("0.5tb") == 5 * 10**11
    for wrong in ("8 gigs", "-1GB", "0", ""):
        with pytest.raises(ConfigError, match="8GB or 500MiB"):
            parse_bytes(wrong)


def test_the_plan_follows_the_budget() -> None:
    needs = Needs(image=10**8, labels=10**8, sums=2 * GB, tile=GB)
    assert plan_memory(needs, 4, ram=8 * GB, used=GB).tile_batch == 4
    less = plan_memory(needs, 4, ram=5 * GB, used=GB)
    assert (less.sums, less.tile_batch) == ("memory", 1)
    disk = plan_memory(needs, 4, ram=4 * GB, used=GB)
    assert (disk.sums, disk.tile_batch) == ("disk", 2)
    assert disk.text == "ram 4.0 GB (given), 1.0 GB of it taken; scores (2.0 GB) in a temporary file; tiles 2 at a time"
    with pytest.raises(DataError, match=r"about 2\.2 GB even with its scores on disk"):
        plan_memory(needs, 4, ram=2 * GB, used=GB)
    assert plan_memory(needs, 4, None, used=GB, free=0).sums == "disk"
    gpu = plan_memory(needs, 4, None, used=GB, gpu=16 * GB, free=50 * GB)
    assert (gpu.image, gpu.sums, gpu.tile_batch) == ("gpu", "gpu", 4)
    small = plan_memory(needs, 4, None, used=GB, gpu=3 * GB, free=50 * GB)
    assert (small.image, small.sums, small.tile_batch) == ("memory", "memory", 4)


def _volume(tmp_path: Path, shape: tuple[int, int, int] = (29, 18, 17)) -> Volume:
    raw = np.random.default_rng(8).integers(-200, 600, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(raw, np.diag([0.9, 1.0, 2.0, 1.0])), tmp_path / "kits_1.nii.gz")
    return read_volume(tmp_path / "kits_1.nii.gz")


@pytest.fixture
def blurring(make_model: MakeModel) -> Callable[..., ModelFile]:
    """A network that looks at neighbours, so that where a tile lies matters."""

    def make(name: str = "run1", seed: int = 0, **meta: object) -> ModelFile:
        spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 3, "padding": 1}
        model = make_model(name, network=spec, **meta)
        generator = torch.Generator().manual_seed(seed)
        state = {"weight": torch.randn((3, 1, 3, 3, 3), generator=generator), "bias": torch.zeros(3)}
        return ModelFile(model.path, model.meta, state)

    return make


@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("spare", [0, 3, 1000])
def test_any_window_and_home_give_one_label_map(
    n_models: int, where: str, spare: int, blurring: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = _volume(tmp_path)
    models = [blurring(f"run{n}", seed=n, patch_size=[6, 6 + 2 * n, 4]) for n in range(n_models)]
    expected = Predictor(models, "cpu").predict(volume)
    assert expected.facts["planes"] < 22, "the whole volume was in memory at once"
    planes, plan = layout.window_planes, predictor_module.plan_memory
    monkeypatch.setattr(layout, "window_planes", lambda *a: planes(*a) + spare)
    monkeypatch.setattr(predictor_module, "plan_memory", lambda *a: _at(plan(*a), where))
    found = Predictor(models, "cpu", scratch=tmp_path).predict(volume)
    assert found.facts["scores"] == where
    np.testing.assert_array_equal(found.array, expected.array)
    assert len(np.unique(found.array)) == 3


def _at(plan: MemoryPlan, where: str) -> MemoryPlan:
    return replace(plan, sums=where)  # type: ignore[arg-type]


@pytest.mark.parametrize("tile_batch", [1, 3, 64])
def test_the_batch_changes_nothing(tile_batch: int, blurring: MakeModel, tmp_path: Path) -> None:
    volume = _volume(tmp_path)
    models = [blurring("run1"), blurring("run2", seed=1, patch_size=[8, 6, 6])]
    expected = Predictor(models, "cpu", tile_batch=2).predict(volume).array
    np.testing.assert_array_equal(Predictor(models, "cpu", tile_batch=tile_batch).predict(volume).array, expected)


def test_an_ensemble_of_one_model_twice_is_that_model(make_model: MakeModel, tmp_path: Path) -> None:
    """The spacing differs from the image's, so the scores are interpolated: logarithms of the mean probability."""
    raw = np.random.default_rng(8).integers(0, 120, (15, 14, 13)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(raw, np.diag([0.9, 1.0, 2.0, 1.0])), tmp_path / "kits_1.nii.gz")
    volume = read_volume(tmp_path / "kits_1.nii.gz")
    model = make_model(low=50.5, high=70.5)
    one, twice = (Predictor([model] * n, "cpu").predict(volume).array for n in (1, 2))
    assert np.mean(one == twice) > 0.9999
    assert len(np.unique(one)) == 3


def test_the_budget_is_kept_and_said(blurring: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume = _volume(tmp_path)
    with caplog.at_level("INFO"):
        Predictor([blurring()], "cpu", ram="64GB").predict(volume)
    assert "kits_1: ram 64.0 GB (given)" in caplog.text
    with pytest.raises(DataError, match="ram=1 MB"):
        Predictor([blurring()], "cpu", ram="1MB").predict(volume)


EXPORT = """
import sys, resource
import numpy as np
import torch
from fran.geometry import Grid, Reorientation
from fran.inference.scores import DiskTensor, ReadSums
from fran.networks.sums import PlaneSums
from fran.preprocessing.chain import GeometryChain

n = int(sys.argv[1])
ras = Grid((160, 150, 90), np.diag([0.8, 0.8, 2.5, 1]))
chain = GeometryChain(ras, Reorientation((0, 1, 2), (False,) * 3), ras, ras).resampled((1.5, 1.5, 3))
argmax, shape = chain.slab_argmax(0), chain.stored.shape
disk = []
def allocate(wanted):
    disk.append(DiskTensor(wanted, sys.argv[2]))
    return disk[0].tensor
sums = PlaneSums(n, shape, 0, 40, allocate)
out, done, generator = argmax.empty(n), 0, torch.Generator().manual_seed(0)
for low in range(0, shape[0], 4):
    high = min(low + 4, shape[0])
    for channel in range(n):
        for _, place in sums._places([(low, high), (0, shape[1]), (0, shape[2])]):
            sums._sums[(channel, *place[1:])].copy_(torch.randn((), generator=generator).expand(1, 1, 1))
    disk[0].let_go()
    ready = argmax.ready(high)
    argmax.write(ReadSums(sums, n, False), out, done, ready)
    done = ready
    sums.release(min(argmax.keep(high), high))
    disk[0].let_go()
assert done == argmax.n_slabs
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_hardly_grows_with_classes(tmp_path: Path) -> None:
    def peak(n_classes: int) -> int:
        command = [sys.executable, "-c", EXPORT, str(n_classes), str(tmp_path)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    few, many = peak(3), peak(118)
    assert many < 1.1 * few
