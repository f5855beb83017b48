"""Memory that a training step takes, estimated from the cost of the network, and whether a GPU has it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from fran.errors import ConfigError
from fran.networks.cost import NetworkCost
from fran.training.settings import TrainerSettings

FLOAT = 4
#: Numbers that an optimiser keeps for each parameter.
STATES = {"adamw": 2, "sgd": 1}
#: A shortage beyond this share of what is free is sure, whatever the estimate leaves out.
SURE = 1.5


@dataclass(frozen=True)
class StepMemory:
    """Bytes at the peak of a training step.

    What a convolution library takes as scratch space is unknown beforehand and not in it, nor is what the CUDA driver
    takes for itself (some hundred MB).

    Attributes:
        weights: weights, their gradients, the optimiser's numbers, averaged weights.
        patch: of each patch of the batch: what the backward pass needs, the loss, and the gradients on their way.
        batch_size: patches.
    """

    weights: int
    patch: int
    batch_size: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.batch_size * self.patch


def step_memory(
    cost: NetworkCost, batch_size: int, *, half: bool = False, optimiser: str = "adamw", averaged: bool = False
) -> StepMemory:
    """Estimate of the memory of one step.

    Args:
        cost: of the network for the patch.
        batch_size: patches of one forward pass.
        half: 16-bit mixed precision: activations take half, weights are copied once more.
        optimiser: "adamw" or "sgd".
        averaged: an exponential moving average of the weights is kept.
    """
    weights = cost.parameters * (FLOAT * (2 + STATES[optimiser] + averaged) + 2 * half)
    activations = (cost.kept + 2 * cost.largest) // (2 if half else 1)
    # the loss works in float32 on logits, probabilities and their gradient, and holds targets as 8-byte indices
    loss = sum(prod(head) for head in cost.heads) * (3 * FLOAT * cost.classes + FLOAT + 8)
    return StepMemory(weights, activations + loss, batch_size)


def memory_of_training(cost: NetworkCost, settings: TrainerSettings, *, half: bool) -> StepMemory:
    """`step_memory` under the settings of a training."""
    optimiser, averaged = settings.optimiser.name, settings.ema_decay > 0
    return step_memory(cost, settings.batch_size, half=half, optimiser=optimiser, averaged=averaged)


def shortage(needed: StepMemory, free: int, total: int) -> tuple[bool, str]:
    """Whether it is sure that a step will not fit, and what to say; empty where it fits.

    Args:
        needed: see `step_memory`.
        free: bytes of the GPU that are free now.
        total: bytes of the GPU.
    """
    if needed.total <= free:
        return False, ""
    said = (
        f"a step needs about {gib(needed.total)} GiB on the GPU, {gib(free)} of {gib(total)} GiB are free:"
        f" {gib(needed.weights)} for weights and optimiser, {gib(needed.patch)} for each of {needed.batch_size} patches"
    )
    fitting = max(0, (free - needed.weights) // max(needed.patch, 1))
    lower = (
        f"trainer.batch_size={fitting}" if 0 < fitting < needed.batch_size else "a smaller patch_dim0 and patch_dim1"
    )
    return needed.total > SURE * free, f"{said}; try {lower}, or fewer model.filters"


def check_gpu(needed: StepMemory, *, compiled: bool = False) -> str:
    """What to warn of before a training on the current GPU; empty where its memory suffices or there is no GPU.

    Raises:
        ConfigError: the free memory is clearly too small. A compiled network is never refused: it may keep less.
    """
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    sure, said = shortage(needed, free, total)
    if sure and not compiled:
        raise ConfigError(f"trainer.batch_size: {said}")
    return said


def gib(size: int) -> str:
    """Bytes in GiB, in a few digits.

    Example:
        >>> gib(3 * 2**30), gib(2**27)
        ('3.0', '0.1')
    """
    return f"{size / 2**30:.1f}"
