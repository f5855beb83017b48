"""Soft Dice plus cross-entropy, alone or over the heads of a deeply supervised network.

Dice after Milletari et al. 2016 (https://arxiv.org/abs/1606.04797) with plain sums in the denominator, as in nnU-Net
and in MONAI's DiceCELoss. Everything is computed in float32 whatever the precision of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def soft_dice_loss(
    probabilities: Tensor,
    target: Tensor,
    *,
    batch: bool = True,
    include_background: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """1 - mean Dice; 0 is perfect.

    The reference is never expanded to one channel a class: the probability of the true class is gathered once and
    summed over the voxels of each class.

    Args:
        probabilities: (B, C, x, y, z) float32.
        target: (B, 1, x, y, z) int64 channel indices.
        batch: sums run over the batch too, so that a class absent from one crop does not swing the loss.
        include_background: count class 0.
        smooth: added to numerator and denominator.
    """
    n_classes = probabilities.shape[1]
    flat = target.flatten(1)
    true_probability = probabilities.gather(1, target).flatten(1)
    first = 0 if include_background or n_classes == 1 else 1
    masks = [flat == channel for channel in range(first, n_classes)]
    overlap = torch.stack([(true_probability * mask).sum(1) for mask in masks], 1)
    reference = torch.stack([mask.sum(1) for mask in masks], 1).to(overlap)
    predicted = probabilities.flatten(2).sum(2)[:, first:]
    if batch:
        overlap, reference, predicted = overlap.sum(0), reference.sum(0), predicted.sum(0)
    dice = (2 * overlap + smooth) / (reference + predicted + smooth)
    return 1 - dice.mean()


def dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    batch: bool = True,
    include_background: bool = False,
    smooth: float = 1e-5,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Weighted sum of soft Dice loss and cross-entropy.

    Args:
        logits: (B, C, x, y, z), any floating type.
        target: (B, 1, x, y, z) channel indices, any integer type.
        dice_weight: factor of the Dice term.
        ce_weight: factor of the cross-entropy.
        batch, include_background, smooth: see `soft_dice_loss`.
        class_weights: (C,) factors of the cross-entropy; the mean is weighted by them.
    """
    # bf16 has 8 bits of mantissa: sums over a million voxels would stand still
    with torch.autocast(logits.device.type, enabled=False):
        log_probabilities = functional.log_softmax(logits.float(), dim=1)
        index = target.long()
        ce = functional.nll_loss(log_probabilities, index[:, 0], class_weights)
        dice = soft_dice_loss(
            log_probabilities.exp(), index, batch=batch, include_background=include_background, smooth=smooth
        )
        return dice_weight * dice + ce_weight * ce


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
        dice_weight, ce_weight, batch, include_background, smooth: see `dice_ce_loss`.
        class_weights: one factor per class, background first, for the cross-entropy.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        *,
        batch: bool = True,
        include_background: bool = False,
        smooth: float = 1e-5,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.dice_weight, self.ce_weight = dice_weight, ce_weight
        self.batch, self.include_background, self.smooth = batch, include_background, smooth
        weights = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Scalar loss of a network's output against (B, 1, x, y, z) channel indices."""
        heads = heads_of(output)
        shares = [0.5**level for level in range(len(heads))]
        losses = [self._single(head, shrink(target, head.shape[2:])) for head in heads]
        return torch.stack([share / sum(shares) * loss for share, loss in zip(shares, losses, strict=True)]).sum()

    def _single(self, logits: Tensor, target: Tensor) -> Tensor:
        return dice_ce_loss(
            logits,
            target,
            dice_weight=self.dice_weight,
            ce_weight=self.ce_weight,
            batch=self.batch,
            include_background=self.include_background,
            smooth=self.smooth,
            class_weights=self.class_weights,
        )
