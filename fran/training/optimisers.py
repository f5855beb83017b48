"""Optimisers by name."""

from __future__ import annotations

import torch
from torch import nn

from fran.training.settings import OptimiserSettings


def make_optimiser(network: nn.Module, settings: OptimiserSettings, *, fused: bool = True) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum, over the parameters of `network`.

    AdamW decays matrices only: biases and normalisation weights carry no capacity worth limiting.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.lr, fused=fused)
