"""Overlap (Dice, Tversky) plus voxel-wise (cross-entropy, focal) loss, alone or over deeply supervised heads.

Dice after Milletari et al. 2016 (https://arxiv.org/abs/1606.04797) with plain sums in the denominator, as in nnU-Net
and in MONAI's DiceCELoss. Tversky after Salehi et al. 2017 (https://arxiv.org/abs/1706.05721), of which Dice is the
case of both weights 1/2, and Jaccard that of both weights 1. Focal after Lin et al. 2017
(https://arxiv.org/abs/1708.02002), of which cross-entropy is the case of focus 0. So there is one formula, and one pass
over the probabilities, for all of them. Everything is computed in float32 whatever the precision of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fran.errors import ConfigError
from fran.losses.marginal import merge_unannotated


@dataclass(frozen=True)
class Terms:
    """Settings of `segmentation_loss`.

    Attributes:
        dice_weight, ce_weight: factors of the overlap term and of the voxel-wise one.
        batch: sum over the batch before the quotient.
        include_background: let class 0 count in the overlap term.
        smooth: added to numerator and denominator of the quotient, in the units of Dice.
        class_weights: (C,) factors of the voxel-wise term, whose sum over the voxels is divided out.
        fp_weight, fn_weight: Tversky's weights of false positives and false negatives; 1/2 each is Dice.
        focus: exponent of (1 - p), by which voxels that are right already count less; 0 is cross-entropy.
    """

    dice_weight: float = 1.0
    ce_weight: float = 1.0
    batch: bool = True
    include_background: bool = False
    smooth: float = 1e-5
    class_weights: Tensor | None = None
    fp_weight: float = 0.5
    fn_weight: float = 0.5
    focus: float = 0.0


class _BothTerms(torch.autograd.Function):
    """Value and gradient of both terms in a few passes over the probabilities, without a one-hot reference.

    With P and R the sums of probability and reference of class c, I that of their product, f and n the weights of false
    positives and false negatives, the quotient of class c is

        Q = N / D,  N = 2 I + smooth,  D = 2 f (P - I) + 2 n (R - I) + 2 I + smooth

    and the derivative of s (1 - Q), s the share of this quotient, by the probability of class c is b_c, plus a_c where
    c is the true class:

        a_c = -2 s (1 - (1 - f - n) Q) / D,  b_c = 2 f s Q / D

    The softmax turns a derivative g by probabilities p into p (g - sum(p g)) by logits. The voxel-wise term
    -(1 - p)^k log p of the true class pulls logit j by u (p_j - [j is true]),

        u = (1 - p)^k - k p (1 - p)^(k - 1) log p
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, terms: Terms, shares: Tensor) -> Tensor:
        """Logits (B, C, V) float32, target (B, V) int64, shares see `dice_shares`."""
        log_p = functional.log_softmax(logits, dim=1)
        log_true = log_p.gather(1, target[:, None])[:, 0]
        weight = _voxel_weights(target, terms.class_weights)
        voxelwise, pull = _voxelwise(log_true, weight, terms.focus)
        p, true = log_p.exp_(), log_true.exp_()
        overlap, reference, predicted = _sums(p, true, target, batch=terms.batch)
        rest = 1 - terms.fp_weight - terms.fn_weight
        total = 2 * (terms.fp_weight * predicted + terms.fn_weight * reference + rest * overlap) + terms.smooth
        quotient = (2 * overlap + terms.smooth) / total
        share = terms.dice_weight * shares
        at_true, everywhere = -2 * share * (1 - rest * quotient) / total, 2 * terms.fp_weight * share * quotient / total
        ctx.save_for_backward(p, true, target, terms.ce_weight * pull, at_true, everywhere)
        return (share * (1 - quotient)).sum() + terms.ce_weight * voxelwise

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient by the logits."""
        p, true, target, pull, a, b = ctx.saved_tensors
        rows, classes = p.shape[:2]
        a, b = a.expand(rows, classes), b.expand(rows, classes)
        at_true = true * a.gather(1, target)
        mean = torch.bmm(b[:, None], p)[:, 0] + at_true
        gradient = (b[:, :, None] - (mean - pull)[:, None]).mul_(p)
        gradient.scatter_add_(1, target[:, None], (at_true - pull)[:, None])
        return gradient.mul_(grads[0]), None, None, None


def _voxelwise(log_true: Tensor, weight: Tensor, focus: float) -> tuple[Tensor, Tensor]:
    """Weighted sum of the voxel-wise term, and the pull of each voxel, from (B, V) log-probabilities of the truth."""
    if not focus:
        return -(log_true * weight).sum(), weight
    wrong = -torch.expm1(log_true)
    scaled = weight * wrong**focus
    # certain voxels: 0 times an infinite power
    slope = weight * focus * wrong.clamp(min=torch.finfo(wrong.dtype).eps) ** (focus - 1)
    return -(scaled * log_true).sum(), scaled - slope * log_true * log_true.exp()


def dice_shares(logits: Tensor, terms: Terms, annotated: Tensor | None = None) -> Tensor:
    """Share of each class's quotient in the Dice term: (1, C) over the batch, else (B, C); together 1.

    A class counts in a sample, or in the batch, that annotates it. Where none does, nothing is left to share.

    Args:
        logits: (B, C, ...).
        terms: see `Terms`.
        annotated: (B, C) bool, None for everything.
    """
    rows, classes = logits.shape[:2]
    counted = logits.new_ones(rows, classes) if annotated is None else annotated.to(logits.dtype)
    counted = counted.amax(0, keepdim=True) if terms.batch else counted
    counted[:, 0] = float(terms.include_background or classes == 1)
    return counted / counted.sum(1, keepdim=True).clamp(min=1) / len(counted)


def _voxel_weights(target: Tensor, class_weights: Tensor | None) -> Tensor:
    """(B, V) weights that sum to 1, or one number for all voxels."""
    if class_weights is None:
        return torch.tensor(1.0 / target.numel(), device=target.device)
    weight = class_weights[target]
    # a crop may hold only classes of weight 0
    return weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def _sums(p: Tensor, true: Tensor, target: Tensor, *, batch: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, reference and prediction per class: (1, C) over the batch, else (B, C)."""
    rows, classes = p.shape[:2]
    offsets = torch.arange(rows, device=p.device)[:, None] * classes
    bins = (target + offsets).flatten()
    overlap = torch.bincount(bins, true.flatten(), rows * classes).view(rows, classes)
    reference = torch.bincount(bins, minlength=rows * classes).view(rows, classes)
    sums = overlap.to(p), reference.to(p), p.sum(2)
    if not batch:
        return sums
    return sums[0].sum(0, keepdim=True), sums[1].sum(0, keepdim=True), sums[2].sum(0, keepdim=True)


def segmentation_loss(
    logits: Tensor, target: Tensor, terms: Terms | None = None, annotated: Tensor | None = None
) -> Tensor:
    """Weighted sum of the overlap term and the voxel-wise term; 0 is perfect.

    Args:
        logits: (B, C, x, y, z), any floating type.
        target: (B, 1, x, y, z) channel indices, any integer type.
        terms: see `Terms`. With `batch`, a class absent from one crop does not swing the loss.
        annotated: (B, C) bool, the classes that were drawn in each sample; None for all. A class that was not counts as
            background there, see `fran.losses.marginal`, and is left out of that sample's mean overlap. `target` must
            not hold it.
    """
    terms = terms or Terms()
    # bf16 has 8 bits of mantissa: sums over a million voxels would stand still
    with torch.autocast(logits.device.type, enabled=False):
        flat = logits.float().flatten(2)
        if annotated is not None:
            flat = merge_unannotated(flat, annotated)
        arguments = (flat, target.flatten(1).long(), terms, dice_shares(flat, terms, annotated))
        loss: Tensor = _BothTerms.apply(*arguments)  # type: ignore[no-untyped-call]  # untyped upstream
        return loss


def shrink(target: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest-neighbour target at a head's resolution; (B, 1, x, y, z) integer."""
    full = target.shape[2:]
    if tuple(full) == tuple(size):
        return target
    if all(f % s == 0 for f, s in zip(full, size, strict=True)):
        steps = [f // s for f, s in zip(full, size, strict=True)]
        return target[:, :, :: steps[0], :: steps[1], :: steps[2]]
    return functional.interpolate(target.float(), size=tuple(size), mode="nearest").to(target.dtype)


def heads_of(output: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Heads, finest first, of a tensor (B, C, x, y, z), a stack (B, heads, C, x, y, z) or a list."""
    if isinstance(output, Tensor):
        return list(output.unbind(1)) if output.ndim == 6 else [output]
    return list(output)


class SegmentationLoss(nn.Module):
    """`segmentation_loss` as a weighted mean over deep-supervision heads.

    Args:
        terms: see `Terms`.
        head_weights: of the heads, the finest first, divided by their sum; None is 1, 1/2, 1/4, ... A network in
            evaluation, which has one head, takes the first alone.
    """

    class_weights: Tensor | None

    def __init__(self, terms: Terms | None = None, head_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.terms = terms or Terms()
        self.head_weights = head_weights
        self.register_buffer("class_weights", self.terms.class_weights, persistent=False)

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor, annotated: Tensor | None = None) -> Tensor:
        """Scalar loss of a network's output against (B, 1, x, y, z) channel indices; (B, C) annotated or all.

        Raises:
            ConfigError: there are not as many `head_weights` as heads.
        """
        terms = replace(self.terms, class_weights=self.class_weights)
        heads = heads_of(output)
        shares = head_shares(len(heads), self.head_weights)
        losses = [
            share * segmentation_loss(head, shrink(target, head.shape[2:]), terms, annotated)
            for head, share in zip(heads, shares, strict=True)
        ]
        return torch.stack(losses).sum()


def head_shares(n_heads: int, weights: Sequence[float] | None = None) -> list[float]:
    """Shares of the heads in the loss, the finest first; together 1.

    Raises:
        ConfigError: not one weight a head.

    Example:
        >>> head_shares(2), head_shares(3, [1, 1, 0])
        ([0.6666666666666666, 0.3333333333333333], [0.5, 0.5, 0.0])
    """
    given = [0.5**level for level in range(n_heads)] if weights is None else list(weights)
    if n_heads == 1:
        return [1.0]
    if len(given) != n_heads:
        raise ConfigError(
            f"trainer.loss.head_weights: expected {n_heads}, one for each head of the network with the finest first,"
            f" found {len(given)}: {given}"
        )
    return [weight / sum(given) for weight in given]
