"""An exponential moving average of the weights, which is what gets validated and exported."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from fran.io.checkpoint import EMA, PREFIX


class WeightAverage(Callback):
    """Average the network's weights over the steps, and put the average in place of the weights during validation.

    After each optimiser step n the average moves by 1 - d towards the weights, d = min(`decay`, (1 + n) / (10 + n)), so
    that a short training is not an average with its random beginning. Buffers are copied. Checkpoints keep both: the
    weights where Lightning puts them, the average in a section of its own, which `fran.io.checkpoint.read_model`
    prefers.

    Args:
        decay: near 1; 0.999 averages over about a thousand steps.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.in_place = False
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, or with the checkpoint's average."""
        self._step = trainer.global_step
        before = self.average
        self.average = {n: before.get(n, now).detach().to(now).clone() for n, now in _weights(pl_module).items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a new step of the optimiser into the average."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        blend(self.average, pl_module.network, decay)  # type: ignore[arg-type]

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        if self.average and not self.in_place:
            self._exchange(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on training with the weights themselves."""
        if self.in_place:
            self._exchange(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the average; during a validation, weights and average have changed places."""
        weights = dict(self.average)
        if self.in_place:
            weights = dict(_weights(pl_module))
            checkpoint["state_dict"] |= {f"{PREFIX}{name}": tensor for name, tensor in self.average.items()}
        checkpoint[EMA] = weights

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Inverse of `on_save_checkpoint`; a checkpoint without an average starts one from its weights."""
        self.average = dict(checkpoint.get(EMA, {}))

    @torch.no_grad()
    def _exchange(self, pl_module: pl.LightningModule) -> None:
        for name, tensor in _weights(pl_module).items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(kept)
        self.in_place = not self.in_place


@torch.no_grad()
def blend(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Move `average` by 1 - `decay` towards the parameters of `network`, in place, and copy its buffers.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = layer.weight.data.fill_(1.0)
        >>> average = {"weight": torch.zeros(1, 1)}
        >>> blend(average, layer, 0.75)
        >>> average["weight"].item()
        0.25
    """
    parameters = dict(network.named_parameters())
    torch._foreach_lerp_([average[n] for n in parameters], [p.detach() for p in parameters.values()], 1 - decay)
    for name, tensor in network.state_dict().items():
        if name not in parameters:
            average[name].copy_(tensor)


def _weights(pl_module: pl.LightningModule) -> dict[str, Tensor]:
    state: dict[str, Tensor] = pl_module.network.state_dict()  # type: ignore[union-attr]
    return state
