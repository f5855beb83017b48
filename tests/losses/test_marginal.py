"""Marginal loss against an implementation that sums probabilities voxel by voxel."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fran.losses.marginal import merge_unannotated
from fran.losses.segmentation import SegmentationLoss, Terms, _BothTerms, dice_shares, segmentation_loss

SHAPE = (6, 5, 4)
ANNOTATED = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, True, True]])
EVERYTHING = torch.ones_like(ANNOTATED)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(3, 4, *SHAPE, generator=generator)
    target = torch.randint(0, 4, (3, 1, *SHAPE), generator=generator, dtype=torch.uint8)
    hidden = ~ANNOTATED.gather(1, target.flatten(1).long()).view_as(target)
    return logits, target.masked_fill(hidden, 0)


def slow_loss(logits, target, annotated, terms):
    """Dice of probabilities and cross-entropy, class by class and sample by sample, in float64."""
    p = logits.double().softmax(1)
    rows, classes = p.shape[:2]
    merged = []
    for row in range(rows):
        hidden = [c for c in range(1, classes) if not annotated[row, c]]
        union = p[row, 0] + sum(p[row, c] for c in hidden) if hidden else p[row, 0]
        kept = [p[row, c] if c not in hidden else torch.zeros_like(union) for c in range(1, classes)]
        merged.append(torch.stack([union, *kept]))
    p, reference = torch.stack(merged), functional.one_hot(target[:, 0].long(), classes).movedim(-1, 1).double()
    log_p = p.clamp(min=1e-300).log()
    ce = -((1 - p) ** terms.focus * log_p * reference).sum() / target.numel()
    first = 0 if terms.include_background else 1
    dices = []
    for group in [range(rows)] if terms.batch else [[row] for row in range(rows)]:
        counted = [c for c in range(first, classes) if c == 0 or any(annotated[row, c] for row in group)]
        quotients = []
        for c in counted:
            overlap = sum((p[row, c] * reference[row, c]).sum() for row in group)
            false_positive = sum((p[row, c] * (1 - reference[row, c])).sum() for row in group)
            false_negative = sum(((1 - p[row, c]) * reference[row, c]).sum() for row in group)
            missed = terms.fp_weight * false_positive + terms.fn_weight * false_negative
            quotients.append((2 * overlap + terms.smooth) / (2 * overlap + 2 * missed + terms.smooth))
        dices.append(1 - sum(quotients) / len(quotients) if counted else torch.zeros(()))
    return terms.dice_weight * sum(dices) / len(dices) + terms.ce_weight * ce


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize(
    "other", [{}, {"fp_weight": 0.3, "fn_weight": 0.7, "focus": 2.0}], ids=["dice_ce", "tversky_focal"]
)
def test_value_and_gradient_equal_the_slow_way(pair, batch, include_background, other):
    logits, target = pair
    terms = Terms(0.7, 1.3, batch, include_background, **other)
    results = []
    for loss in (segmentation_loss, slow_loss):
        source = logits.clone().requires_grad_()
        value = loss(source, target, annotated=ANNOTATED, terms=terms)
        value.backward()
        results.append((value.detach().float(), source.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("batch", [True, False])
def test_gradient_is_the_numerical_one(pair, batch):
    logits, target = pair[0][:, :, :2, :2, :2].flatten(2).double(), pair[1][:, 0, :2, :2, :2].flatten(1).long()
    terms = Terms(0.7, 1.3, batch, True, 1e-3, torch.tensor([0.2, 1.0, 3.0, 0.5], dtype=torch.float64))

    def loss(x):
        return 5 * _BothTerms.apply(merge_unannotated(x, ANNOTATED), target, terms, dice_shares(x, terms, ANNOTATED))

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


@pytest.mark.parametrize("batch", [True, False])
def test_everything_annotated_changes_nothing(pair, batch):
    logits, target = pair
    terms = Terms(batch=batch)
    assert torch.equal(merge_unannotated(logits, EVERYTHING), logits)
    assert torch.equal(segmentation_loss(logits, target, terms, EVERYTHING), segmentation_loss(logits, target, terms))


def test_an_unannotated_class_costs_nothing_where_it_is_predicted(pair):
    """Certain of class 2 in the sample that does not annotate it: as good as certain of background."""
    _, target = pair
    sure = torch.where(functional.one_hot(target[:, 0].long(), 4).movedim(-1, 1).bool(), 40.0, -40.0)
    elsewhere = sure.clone()
    hidden = target[1, 0] == 0
    elsewhere[1, 0][hidden], elsewhere[1, 2][hidden] = -40.0, 40.0
    assert float(segmentation_loss(elsewhere, target, None, ANNOTATED)) < 1e-4
    assert float(segmentation_loss(elsewhere, target)) > 1


def test_a_batch_that_annotates_no_class_is_worth_nothing(pair):
    logits = pair[0].requires_grad_()
    nothing = torch.zeros_like(ANNOTATED)
    for batch in (True, False):
        loss = segmentation_loss(logits, torch.zeros_like(pair[1]), Terms(batch=batch), nothing)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
        assert float(gradient.abs().max()) < 1e-6


def test_heads_and_low_precision(pair):
    logits, target = pair
    coarse = functional.avg_pool3d(logits, 2)
    single = SegmentationLoss()
    shrunk = functional.interpolate(target.float(), size=coarse.shape[2:], mode="nearest").byte()
    expected = single(logits, target, ANNOTATED) + 0.5 * single(coarse, shrunk, ANNOTATED)
    torch.testing.assert_close(single([logits, coarse], target, ANNOTATED), expected / 1.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = single(logits.bfloat16(), target, ANNOTATED)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, single(logits.bfloat16().float(), target, ANNOTATED))


def test_huge_logits_stay_finite(pair):
    logits, target = pair
    source = (1e5 * logits).requires_grad_()
    loss = segmentation_loss(source, target, None, ANNOTATED)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(source.grad).all()


def test_it_can_be_compiled_in_one_piece(pair):
    logits = pair[0].flatten(2)
    compiled = torch.compile(merge_unannotated, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, ANNOTATED), merge_unannotated(logits, ANNOTATED))
