"""Memory of a step, and what is said where a GPU has less."""

from __future__ import annotations

import pytest

from fran.networks.cost import NetworkCost
from fran.training.memory import StepMemory, check_gpu, memory_of_training, shortage, step_memory
from fran.training.settings import TrainerSettings

GB = 10**9
COST = NetworkCost("UNet", 10**7, 10**11, 10**9, 10**8, ((64, 64, 48),), 3)


def test_parts_of_the_estimate() -> None:
    plain = step_memory(COST, 2, optimiser="sgd")
    assert plain.weights == 10**7 * 12
    assert step_memory(COST, 2).weights - plain.weights == 10**7 * 4, "adamw keeps one number more"
    assert step_memory(COST, 2, averaged=True).weights - step_memory(COST, 2).weights == 10**7 * 4
    assert plain.total == plain.weights + 2 * plain.patch
    half = step_memory(COST, 2, half=True, optimiser="sgd")
    assert half.patch - 64 * 64 * 48 * 48 == (plain.patch - 64 * 64 * 48 * 48) // 2, "the loss stays in float32"
    assert half.weights > plain.weights


def test_settings_of_a_training_decide() -> None:
    settings = TrainerSettings(batch_size=3)
    assert memory_of_training(COST, settings, half=False) == step_memory(COST, 3)


def test_what_fits_is_not_talked_about() -> None:
    assert shortage(StepMemory(GB, GB, 2), 4 * GB, 8 * GB) == (False, "")


@pytest.mark.parametrize(("free", "sure"), [(8 * GB, False), (5 * GB, True)])
def test_a_shortage_names_figures_and_what_to_lower(free: int, sure: bool) -> None:
    found, said = shortage(StepMemory(GB, 2 * GB, 4), free, 10 * GB)
    assert found is sure
    assert "8.4 GiB on the GPU" in said
    assert "each of 4 patches" in said
    assert f"trainer.batch_size={3 if free == 8 * GB else 2}" in said


def test_where_not_even_one_patch_fits_the_patch_must_shrink() -> None:
    assert "patch_dim0" in shortage(StepMemory(GB, 9 * GB, 1), 5 * GB, 8 * GB)[1]


def test_without_a_gpu_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert check_gpu(StepMemory(10**15, 10**15, 2)) == ""
