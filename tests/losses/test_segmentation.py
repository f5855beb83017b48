from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fran.errors import ConfigError
from fran.losses.segmentation import (
    SegmentationLoss,
    Terms,
    _BothTerms,
    dice_shares,
    heads_of,
    segmentation_loss,
    shrink,
)

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
    mine = SegmentationLoss(Terms(batch=batch, include_background=include_background))
    results = []
    for loss in (mine, reference):
        source = logits.clone().requires_grad_()
        value = loss(source, target)
        value.backward()
        results.append((value.detach(), source.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(("fp", "fn"), [(0.3, 0.7), (1.0, 1.0), (0.5, 0.5)], ids=["tversky", "jaccard", "dice"])
def test_tversky_equals_monai_with_gradient(pair, batch, fp, fn):
    from monai.losses import TverskyLoss as Reference

    logits, target = pair
    # MONAI's smoothing stands beside the true positives, ours beside twice as many
    smooth = {"smooth_nr": 0.25, "smooth_dr": 0.25}
    reference = Reference(False, True, softmax=True, alpha=fp, beta=fn, batch=batch, **smooth)
    terms = Terms(ce_weight=0.0, batch=batch, smooth=0.5, fp_weight=fp, fn_weight=fn)
    same_with_gradient(lambda x: segmentation_loss(x, target, terms), lambda x: reference(x, target), logits)


@pytest.mark.parametrize("focus", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0, 1.0]])
def test_focal_equals_monai_with_gradient(pair, focus, weights):
    from monai.losses import FocalLoss as Reference

    logits, target = pair
    reference = Reference(True, True, gamma=focus, weight=weights, use_softmax=True)
    given = None if weights is None else torch.tensor(weights)
    divisor = target.numel() if given is None else given[target.long()].sum()
    terms = Terms(dice_weight=0.0, class_weights=given, focus=focus)

    def other(x):
        # MONAI's mean counts each voxel once a class, and does not divide by the weights
        return reference(x, target) * logits.numel() / divisor

    same_with_gradient(lambda x: segmentation_loss(x, target, terms), other, logits)


def same_with_gradient(mine, other, logits):
    results = []
    for loss in (mine, other):
        source = logits.clone().requires_grad_()
        value = loss(source)
        value.backward()
        results.append((value.detach(), source.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-7, rtol=1e-4)


def test_weights_scale_the_terms(pair):
    logits, target = pair
    ce = functional.cross_entropy(logits, target[:, 0].long())
    both = segmentation_loss(logits, target)
    torch.testing.assert_close(segmentation_loss(logits, target, Terms(dice_weight=0.0)), ce)
    torch.testing.assert_close(segmentation_loss(logits, target, Terms(2.0, 0.5)), 2 * (both - ce) + 0.5 * ce)
    weights = torch.tensor([0.2, 1.0, 3.0, 1.0])
    expected = functional.cross_entropy(logits, target[:, 0].long(), weights)
    torch.testing.assert_close(
        segmentation_loss(logits, target, Terms(dice_weight=0.0, class_weights=weights)), expected
    )


def test_a_crop_of_classes_without_weight_costs_nothing(pair):
    logits = pair[0].requires_grad_()
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0])
    loss = segmentation_loss(logits, torch.zeros_like(pair[1]), Terms(dice_weight=0.0, class_weights=weights))
    assert float(loss.detach()) == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("other", [{}, {"fp_weight": 0.2, "fn_weight": 0.9, "focus": 2.0}, {"focus": 0.7}], ids=str)
def test_gradient_of_all_settings_together_is_the_numerical_one(batch, other):
    torch.manual_seed(0)
    terms = Terms(0.7, 1.3, batch, True, 1e-3, torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64), **other)
    target = torch.randint(0, 3, (2, 11))
    logits = torch.randn(2, 3, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: 5 * _BothTerms.apply(x, target, terms, dice_shares(x, terms)), logits)


def test_perfect_prediction_is_near_zero(pair):
    _, target = pair
    logits = 50.0 * functional.one_hot(target[:, 0].long(), 3).movedim(-1, 1).float()
    assert float(SegmentationLoss()(logits, target)) < 1e-4


def test_heads_are_weighted_by_halves_and_every_form_is_taken(pair):
    logits, target = pair
    coarse = functional.avg_pool3d(logits, 2)
    single = SegmentationLoss()
    expected = (single(logits, target) + 0.5 * single(coarse, target[:, :, ::2, ::2, ::2])) / 1.5
    torch.testing.assert_close(single([logits, coarse], target), expected)
    stack = torch.stack([logits, logits], dim=1)
    torch.testing.assert_close(single(stack, target), single(logits, target))
    assert [h.shape for h in heads_of(stack)] == [logits.shape] * 2


def test_heads_take_the_weights_they_are_given(pair):
    logits, target = pair
    coarse = functional.avg_pool3d(logits, 2)
    fine, rough = SegmentationLoss()(logits, target), SegmentationLoss()(coarse, target[:, :, ::2, ::2, ::2])
    weighted = SegmentationLoss(head_weights=[3.0, 1.0])
    torch.testing.assert_close(weighted([logits, coarse], target), 0.75 * fine + 0.25 * rough)
    torch.testing.assert_close(weighted(logits, target), fine)
    with pytest.raises(ConfigError, match=r"head_weights: expected 3, one for each head .* found 2"):
        weighted([logits, coarse, coarse], target)


def test_uneven_heads_shrink_like_nearest_interpolation(pair):
    _, target = pair
    expected = functional.interpolate(target.float(), size=(5, 10, 4), mode="nearest").byte()
    assert torch.equal(shrink(target, (5, 10, 4)), expected)


KINDS = pytest.mark.parametrize(
    "terms", [Terms(), Terms(fp_weight=0.3, fn_weight=0.7, focus=2.0)], ids=["dice", "both"]
)


@KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_and_autocast_are_computed_in_float32(pair, terms, dtype):
    logits, target = pair
    low = logits.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        value = SegmentationLoss(terms)(low, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, SegmentationLoss(terms)(low.float(), target))


@KINDS
def test_large_logits_stay_finite(pair, terms):
    logits, target = pair
    source = (1e4 * logits).requires_grad_()
    SegmentationLoss(terms)(source, target).backward()
    assert torch.isfinite(source.grad).all()
