from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fran.losses.dice_ce import DiceCELoss, Terms, _DiceCE, dice_ce_loss, dice_shares, heads_of, shrink

SHAPE = (12, 10, 6)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 4, *SHAPE, generator=generator)
    target = torch.randint(0, 3, (2, 1, *SHAPE), generator=generator, dtype=torch.uint8)
    return logits, target  # class 3 never occurs


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
def test_equals_monai_with_gradient(pair, batch, include_background):
    from monai.losses import DiceCELoss as Reference

    logits, target = pair
    options = {"to_onehot_y": True, "softmax": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
    reference = Reference(include_background=include_background, batch=batch, **options)
    mine = DiceCELoss(Terms(batch=batch, include_background=include_background))
    results = []
    for loss in (mine, reference):
        source = logits.clone().requires_grad_()
        value = loss(source, target)
        value.backward()
        results.append((value.detach(), source.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-7, rtol=1e-4)


def test_weights_scale_the_terms(pair):
    logits, target = pair
    ce = functional.cross_entropy(logits, target[:, 0].long())
    both = dice_ce_loss(logits, target)
    torch.testing.assert_close(dice_ce_loss(logits, target, Terms(dice_weight=0.0)), ce)
    torch.testing.assert_close(dice_ce_loss(logits, target, Terms(2.0, 0.5)), 2 * (both - ce) + 0.5 * ce)
    weights = torch.tensor([0.2, 1.0, 3.0, 1.0])
    expected = functional.cross_entropy(logits, target[:, 0].long(), weights)
    torch.testing.assert_close(dice_ce_loss(logits, target, Terms(dice_weight=0.0, class_weights=weights)), expected)


def test_a_crop_of_classes_without_weight_costs_nothing(pair):
    logits = pair[0].requires_grad_()
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0])
    loss = dice_ce_loss(logits, torch.zeros_like(pair[1]), Terms(dice_weight=0.0, class_weights=weights))
    assert float(loss.detach()) == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.parametrize("batch", [True, False])
def test_gradient_of_all_settings_together_is_the_numerical_one(batch):
    torch.manual_seed(0)
    terms = Terms(0.7, 1.3, batch, True, 1e-3, torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64))
    target = torch.randint(0, 3, (2, 11))
    logits = torch.randn(2, 3, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: 5 * _DiceCE.apply(x, target, terms, dice_shares(x, terms)), logits)


def test_perfect_prediction_is_near_zero(pair):
    _, target = pair
    logits = 50.0 * functional.one_hot(target[:, 0].long(), 3).movedim(-1, 1).float()
    assert float(DiceCELoss()(logits, target)) < 1e-4


def test_heads_are_weighted_by_halves_and_every_form_is_taken(pair):
    logits, target = pair
    coarse = functional.avg_pool3d(logits, 2)
    single = DiceCELoss()
    expected = (single(logits, target) + 0.5 * single(coarse, target[:, :, ::2, ::2, ::2])) / 1.5
    torch.testing.assert_close(single([logits, coarse], target), expected)
    stack = torch.stack([logits, logits], dim=1)
    torch.testing.assert_close(single(stack, target), single(logits, target))
    assert [h.shape for h in heads_of(stack)] == [logits.shape] * 2


def test_uneven_heads_shrink_like_nearest_interpolation(pair):
    _, target = pair
    expected = functional.interpolate(target.float(), size=(5, 10, 4), mode="nearest").byte()
    assert torch.equal(shrink(target, (5, 10, 4)), expected)


def test_bf16_logits_and_autocast_are_computed_in_float32(pair):
    logits, target = pair
    low = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = DiceCELoss()(low, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, DiceCELoss()(low.float(), target))


def test_large_logits_stay_finite(pair):
    logits, target = pair
    source = (1e4 * logits).requires_grad_()
    DiceCELoss()(source, target).backward()
    assert torch.isfinite(source.grad).all()
