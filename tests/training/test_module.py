from __future__ import annotations

import numpy as np
import pytest
import torch

from fran.training.hardware import resolve_accelerator, resolve_precision
from fran.training.module import mean_dice
from fran.training.schedule import Budget, Plateau, lr_factor
from fran.training.settings import OptimiserSettings, TrainerSettings
from fran.training.validation import predict_channels


def test_mean_dice_leaves_absent_labels_out():
    cases = [np.array([0.5, np.nan, np.nan]), np.array([1.0, 0.2, np.nan])]
    means, counts = mean_dice(cases, 3)
    np.testing.assert_allclose(means, [0.75, 0.2, np.nan])
    assert counts.tolist() == [2, 1, 0]
    means, counts = mean_dice([], 2)
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


def test_auto_precision_needs_the_hardware(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert resolve_precision("auto", "cpu") == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert resolve_precision("auto", "cpu") == "bf16-mixed"
    assert resolve_precision("16-mixed", "cpu") == "16-mixed"


def test_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_accelerator("auto") == "cpu"
    with pytest.raises(Exception, match="found none"):
        resolve_accelerator("gpu")


def test_slabs_give_the_labels_of_the_whole():
    """A network that only looks at single voxels must give the same labels however the volume is cut."""
    image = torch.randn(1, 1, 40, 17, 13)

    def network(tiles):
        return torch.cat([tiles, -tiles, tiles**2 - 1], dim=1)

    whole = predict_channels(network, image, (8, 8, 8), 3)
    cut = predict_channels(network, image, (8, 8, 8), 3, max_logit_bytes=4 * 3 * 17 * 13 * 18)
    assert torch.equal(whole, network(image)[0].argmax(0))
    assert torch.equal(cut, whole)


def test_defaults_are_valid():
    TrainerSettings().check()
