from __future__ import annotations

import numpy as np
import pytest
import torch

from fran.networks.sliding_window import sliding_window
from fran.training import validation
from fran.training.case_scores import label_means
from fran.training.hardware import days_on_cpu, resolve_accelerator, resolve_precision
from fran.training.schedule import Budget, Plateau, lr_factor
from fran.training.settings import OptimiserSettings, TrainerSettings
from fran.training.validation import predict_channels


def test_mean_dice_leaves_absent_labels_out():
    cases = [np.array([0.5, np.nan, np.nan]), np.array([1.0, 0.2, np.nan])]
    means, counts = label_means(cases, 3)
    np.testing.assert_allclose(means, [0.75, 0.2, np.nan])
    assert counts.tolist() == [2, 1, 0]
    means, counts = label_means([], 2)
    assert np.isnan(means).all()
    assert not counts.any()


def test_progress_is_the_larger_of_steps_and_time():
    budget = Budget(100, 50.0, elapsed_before_s=30.0)
    assert budget.progress(20) == pytest.approx(0.6)
    assert budget.progress(90) == pytest.approx(0.9)
    assert Budget(100).progress(500) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_schedules_rise_then_fall_to_the_final_share(schedule):
    settings = OptimiserSettings(schedule=schedule, warmup=0.1, final_lr_share=0.02)
    rates = [lr_factor(p, settings) for p in np.linspace(0, 1, 101)]
    assert max(rates) == rates[10] == 1.0
    assert all(np.diff(rates[:11]) > 0)
    assert all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(0.02)


def test_one_cycle_is_torchs():
    settings = OptimiserSettings(schedule="one_cycle", lr=0.2, final_lr_share=0.001)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    steps = 50
    # torch ends the rise one step before `pct_start` of its steps
    rise = (0.3 * steps + 1) / (steps + 1)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 0.2, steps + 1, pct_start=rise, final_div_factor=1000 / 25, cycle_momentum=False
    )
    for step in range(steps):
        assert 0.2 * lr_factor(step / steps, settings) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()
    assert 0.2 * lr_factor(1.0, settings) == pytest.approx(optimiser.param_groups[0]["lr"])


def test_plateau_falls_after_scores_without_a_rise_and_not_below_its_end():
    plateau = Plateau(patience=2, factor=0.1, lowest=0.05)
    shares = []
    for score in (float("nan"), 0.5, 0.5, float("nan"), 0.6, 0.6, 0.6, 0.6, 0.6):
        plateau.update(score)
        shares.append(plateau.share)
    assert shares == [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05]
    assert lr_factor(0.7, OptimiserSettings(schedule="plateau")) == lr_factor(
        0.7, OptimiserSettings(schedule="constant")
    )


def test_a_training_of_a_gpus_length_is_told_to_a_cpu():
    assert "250000 steps on a CPU take days; preset=cpu" in days_on_cpu(TrainerSettings(), "cpu")
    assert days_on_cpu(TrainerSettings(max_epochs=40, steps_per_epoch=50), "cpu") == ""


def test_auto_precision_needs_the_hardware(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert resolve_precision("auto", "cpu") == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert resolve_precision("auto", "cpu") == "bf16-mixed"
    assert resolve_precision("16-mixed", "cpu") == "bf16-mixed", "a CPU does not train in fp16"
    assert resolve_precision("16-mixed", "gpu") == "16-mixed"


def test_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_accelerator("auto") == "cpu"
    with pytest.raises(Exception, match="found none"):
        resolve_accelerator("gpu")


@pytest.mark.parametrize("shape", [(40, 17, 13), (9, 30, 11), (6, 7, 25)], ids=["x", "y", "z"])
def test_validation_predicts_as_inference_does(shape):
    """Whatever the axis along which planes are finished, and also where the volume is smaller than the patch."""
    torch.manual_seed(0)
    image, conv = torch.randn(1, 1, *shape), torch.nn.Conv3d(1, 3, 5, padding=2)
    expected = sliding_window(conv, image, (8, 8, 8), 3)[0].argmax(0)
    for tile_batch in (1, 4):
        found = predict_channels(conv, image, (8, 8, 8), 3, tile_batch=tile_batch, max_sum_bytes=1)
        assert found.dtype == torch.uint8
        assert (found == expected).float().mean() > 0.999  # sums of another order differ in their last bit


def test_scores_of_many_classes_are_kept_for_a_patch_of_planes_alone(monkeypatch):
    kept = []

    class Watched(validation.PlaneSums):
        def __init__(self, n_classes, shape, axis, planes, allocate):
            super().__init__(n_classes, shape, axis, planes, allocate)
            kept.append(tuple(self._sums.shape))

    monkeypatch.setattr(validation, "PlaneSums", Watched)
    network = torch.nn.Conv3d(1, 300, 1)
    network.bias.data[299] = 10.0
    found = predict_channels(network, torch.randn(1, 1, 64, 12, 10), (8, 8, 8), 300, tile_batch=1)
    assert kept == [(300, 8, 12, 10)]
    assert found.dtype == torch.int16
    assert (found == 299).all()


def test_defaults_are_valid():
    TrainerSettings().check()
