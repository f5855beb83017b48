"""Labels that a sample's annotators did not draw: their probability counts as background.

Voxels of an unannotated class are labelled background, so background means "background or one of the unannotated
classes" in such a sample. The probability of that union is the sum of the probabilities, the marginal of Fang & Yan
2020 (PIPO-FAN, https://arxiv.org/abs/2001.00208) and Shi et al. 2021 (https://arxiv.org/abs/2007.03868). Any loss of
softmax probabilities can follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Logit of a class that was merged into background: its probability is 0, and everything stays finite.
MERGED = -1e30


def merge_unannotated(logits: Tensor, annotated: Tensor) -> Tensor:
    """Logits whose softmax has the probability of unannotated classes added to background.

    Args:
        logits: (B, C, ...) float32 or float64.
        annotated: (B, C) bool; what it says of class 0 does not matter. Samples annotated in full are left bit for bit.

    Returns:
        (B, C, ...): class 0 is the logsumexp over itself and the unannotated classes, those are `MERGED`.

    Example:
        >>> logits = torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]).log()[:, :, None]
        >>> annotated = torch.tensor([[True, True, True], [True, True, False]])
        >>> [[round(p, 3) for p in row] for row in merge_unannotated(logits, annotated).exp()[:, :, 0].tolist()]
        [[0.1, 0.2, 0.7], [0.8, 0.2, 0.0]]
    """
    hidden = ~annotated[:, 1:].reshape(*annotated[:, 1:].shape, *[1] * (logits.ndim - 2))
    background, foreground = logits[:, :1], logits[:, 1:]
    union = torch.cat([background, foreground.masked_fill(~hidden, -torch.inf)], dim=1)
    return torch.cat([union.logsumexp(1, keepdim=True), foreground.masked_fill(hidden, MERGED)], dim=1)
