"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from fran.training.settings import OptimiserSettings

CARRIED, KEPT = "carried", "kept_from_decay"


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
    """Parameters by whether they were carried over and whether they decay; groups that would be empty are left out.

    The groups are the same whatever rate and decay are, so that a resume may change these.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            kept = settings.name == "adamw" and parameter.ndim <= 1
            groups.setdefault((name in carried, kept), []).append(parameter)
    return [
        {"params": groups[key], CARRIED: key[0], KEPT: key[1], "weight_decay": 0.0 if key[1] else settings.weight_decay}
        for key in sorted(groups)
    ]


def set_rates(optimiser: torch.optim.Optimizer, lr: float, settings: OptimiserSettings) -> None:
    """Give every group of parameters the rate `lr`; those that were carried over a share of it."""
    for group in optimiser.param_groups:
        group["lr"] = lr * settings.carried_lr_share if group.get(CARRIED) else lr


def restate(optimiser: torch.optim.Optimizer, settings: OptimiserSettings) -> None:
    """Weight decay and momentum as the settings say, in place of those that came with a checkpoint."""
    for group in optimiser.param_groups:
        group["weight_decay"] = 0.0 if group.get(KEPT) else settings.weight_decay
        if settings.name == "sgd":
            group["momentum"], group["nesterov"] = settings.momentum, settings.momentum > 0
