"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from fran.training.settings import OptimiserSettings

SHARE = "lr_share"


def make_optimiser(
    network: nn.Module, settings: OptimiserSettings, *, carried: Collection[str] = (), fused: bool = True
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum, over the parameters of `network`.

    AdamW decays matrices only: biases and normalisation weights carry no capacity worth limiting.

    Args:
        network: its parameters that require a gradient.
        settings: see `OptimiserSettings`.
        carried: names of parameters whose learning rate is `settings.carried_lr_share` of that of the others.
        fused: one kernel for all parameters.
    """
    groups = parameter_groups(network, settings, carried)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, fused=fused)
    return torch.optim.SGD(
        groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=fused
    )


def parameter_groups(
    network: nn.Module, settings: OptimiserSettings, carried: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Parameters by their share of the learning rate and by their decay; groups that would be empty are left out."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            share = settings.carried_lr_share if name in carried else 1.0
            decays = settings.name == "sgd" or parameter.ndim > 1
            groups.setdefault((-share, -settings.weight_decay if decays else 0.0), []).append(parameter)
    return [
        {"params": groups[key], SHARE: -key[0], "lr": settings.lr * -key[0], "weight_decay": -key[1]}
        for key in sorted(groups)
    ]


def set_rates(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Give every group of parameters the rate `lr`, or its share of it (see `make_optimiser`)."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group[SHARE]
