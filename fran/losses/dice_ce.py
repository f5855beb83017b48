"""Soft Dice plus cross-entropy, alone or over the heads of a deeply supervised network.

Dice after Milletari et al. 2016 (https://arxiv.org/abs/1606.04797) with plain sums in the denominator, as in nnU-Net
and in MONAI's DiceCELoss. Everything is computed in float32 whatever the precision of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fran.losses.marginal import merge_unannotated


@dataclass(frozen=True)
class Terms:
    """Settings of `dice_ce_loss`."""

    dice_weight: float = 1.0
    ce_weight: float = 1.0
    batch: bool = True
    include_background: bool = False
    smooth: float = 1e-5
    class_weights: Tensor | None = None


class _DiceCE(torch.autograd.Function):
    """Value and gradient of both terms in a few passes over the probabilities, without a one-hot reference.

    With P and R the sums of probability and reference of class c, and I that of their product, the derivative of the
    Dice term by the probability of class c is b_c, plus a_c where c is the true class:

        a_c = -2 s / (P + R + smooth),  b_c = s (2 I + smooth) / (P + R + smooth)^2,  s = share of this quotient

    and the softmax turns a derivative g by probabilities p into p (g - sum(p g)) by logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, terms: Terms, shares: Tensor) -> Tensor:
        """Logits (B, C, V) float32, target (B, V) int64, shares see `dice_shares`."""
        log_p = functional.log_softmax(logits, dim=1)
        log_true = log_p.gather(1, target[:, None])[:, 0]
        weight = _voxel_weights(target, terms.class_weights)
        ce = -(log_true * weight).sum()
        p, true = log_p.exp_(), log_true.exp_()
        overlap, reference, predicted = _sums(p, true, target, batch=terms.batch)
        total = reference + predicted + terms.smooth
        quotient = (2 * overlap + terms.smooth) / total
        share = terms.dice_weight * shares
        ctx.save_for_backward(p, true, target, weight, -2 * share / total, share * quotient / total)
        ctx.ce_weight = terms.ce_weight
        return (share * (1 - quotient)).sum() + terms.ce_weight * ce

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient by the logits."""
        p, true, target, weight, a, b = ctx.saved_tensors
        rows, classes = p.shape[:2]
        a, b = a.expand(rows, classes), b.expand(rows, classes)
        at_true = true * a.gather(1, target)
        mean = torch.bmm(b[:, None], p)[:, 0] + at_true
        pull = ctx.ce_weight * weight
        gradient = (b[:, :, None] - (mean - pull)[:, None]).mul_(p)
        gradient.scatter_add_(1, target[:, None], (at_true - pull)[:, None])
        return gradient.mul_(grads[0]), None, None, None


def dice_shares(logits: Tensor, terms: Terms, annotated: Tensor | None = None) -> Tensor:
    """Share of each class's quotient in the Dice term: (1, C) over the batch, else (B, C); together 1.

    A class counts in a sample, or in the batch, that annotates it. Where none does, nothing is left to share.

    Args:
        logits: (B, C, ...).
        terms: see `dice_ce_loss`.
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


def dice_ce_loss(logits: Tensor, target: Tensor, terms: Terms | None = None, annotated: Tensor | None = None) -> Tensor:
    """Weighted sum of soft Dice loss and cross-entropy; 0 is perfect.

    Args:
        logits: (B, C, x, y, z), any floating type.
        target: (B, 1, x, y, z) channel indices, any integer type.
        terms: factors of the terms; `batch` lets Dice's sums run over the batch, so that a class absent from one crop
            does not swing the loss; `include_background` counts class 0 in Dice; `smooth` is added to numerator and
            denominator; `class_weights` (C,) weigh the voxels of the cross-entropy.
        annotated: (B, C) bool, the classes that were drawn in each sample; None for all. A class that was not counts as
            background there, see `fran.losses.marginal`, and is left out of that sample's mean Dice. `target` must
            not hold it.
    """
    terms = terms or Terms()
    # bf16 has 8 bits of mantissa: sums over a million voxels would stand still
    with torch.autocast(logits.device.type, enabled=False):
        flat = logits.float().flatten(2)
        if annotated is not None:
            flat = merge_unannotated(flat, annotated)
        arguments = (flat, target.flatten(1).long(), terms, dice_shares(flat, terms, annotated))
        loss: Tensor = _DiceCE.apply(*arguments)  # type: ignore[no-untyped-call]  # untyped upstream
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


class DiceCELoss(nn.Module):
    """`dice_ce_loss` averaged over deep-supervision heads with weights 1, 1/2, 1/4, ... that sum to 1.

    Args:
        terms: see `dice_ce_loss`.
    """

    class_weights: Tensor | None

    def __init__(self, terms: Terms | None = None) -> None:
        super().__init__()
        self.terms = terms or Terms()
        self.register_buffer("class_weights", self.terms.class_weights, persistent=False)

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor, annotated: Tensor | None = None) -> Tensor:
        """Scalar loss of a network's output against (B, 1, x, y, z) channel indices; (B, C) annotated or all."""
        terms = replace(self.terms, class_weights=self.class_weights)
        heads = heads_of(output)
        shares = [0.5**level for level in range(len(heads))]
        losses = [dice_ce_loss(head, shrink(target, head.shape[2:]), terms, annotated) for head in heads]
        return torch.stack([share / sum(shares) * loss for share, loss in zip(shares, losses, strict=True)]).sum()
