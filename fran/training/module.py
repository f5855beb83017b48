"""The Lightning module: normalise and augment on the device, train, validate whole cases."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fran import keys
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.prepare import prepare_batch
from fran.errors import FranError
from fran.labels import LabelScheme
from fran.losses.segmentation import SegmentationLoss, Terms
from fran.training.case_scores import CaseResult, ValidationSettings, figures_of, gathered, measure_case
from fran.training.optimisers import make_optimiser, restate, set_rates
from fran.training.schedule import Budget, Plateau, lr_factor
from fran.training.settings import LossSettings, OptimiserSettings
from fran.training.validation import predict_channels

Vox = tuple[int, int, int]
#: Losses and norms of gradients that are looked at together on devices where each look waits for the device.
WINDOW, QUEUED = 40, ("cuda",)
FP16 = "16-mixed"
EPOCH_LOSS = "fran_epoch_loss"


class LossNotFinite(FranError):
    """The loss, or the norm of its gradient, became infinite or NaN."""


class Figure(NamedTuple):
    """A loss or a norm of a gradient that has not been looked at yet, and of which step."""

    name: str
    value: Tensor
    cases: list[str]
    step: int


@dataclass
class Pace:
    """Seconds spent waiting for data and in all, and patches seen, in the running epoch."""

    started: float = 0.0
    finished: float = 0.0
    waited: float = 0.0
    patches: int = 0
    _last_end: float = field(default=0.0, repr=False)

    def batch_arrived(self) -> None:
        """A batch left the loader."""
        self.waited += time.monotonic() - self._last_end

    def batch_done(self, patches: int) -> None:
        """A step ended."""
        self.finished = self._last_end = time.monotonic()
        self.patches += patches

    @classmethod
    def begin(cls) -> Pace:
        """An epoch starts now."""
        now = time.monotonic()
        return cls(started=now, finished=now, _last_end=now)

    def figures(self) -> dict[str, float]:
        """Share of the time spent waiting, and patches per second."""
        seconds = max(self.finished - self.started, 1e-9)
        return {"train/data_wait_share": self.waited / seconds, "train/patches_per_s": self.patches / seconds}


@dataclass
class LossMean:
    """Mean loss of the running epoch; it can be kept in a checkpoint, unlike Lightning's own."""

    total: Tensor | float = 0.0
    count: int = 0
    logged: bool = False

    def add(self, loss: Tensor) -> None:
        """Take the loss of a batch in, without waiting for the device."""
        self.total, self.count = self.total + loss.double(), self.count + 1

    def mean(self) -> float:
        """NaN before the first batch."""
        return float(self.total) / self.count if self.count else float("nan")


class SegmentationModule(pl.LightningModule):
    """Train a network on crops and validate it on whole cases.

    Args:
        network: (B, C, x, y, z) to logits, a stack of heads or a list of them in training mode.
        labels: names of the channels.
        patch_size: (x, y, z) voxels.
        augmentation: applied to training batches, None for none.
        optimiser, loss: see the settings.
        budget: of the whole training.
        validation: see `ValidationSettings`.
        channels_last: memory layout channels_last_3d.
        carried: names of the network's parameters that came from another run.

    Logs `train/loss`, `train/lr`, `train/data_wait_share`, `train/patches_per_s`, `val/dice` (mean over labels),
    `val/dice_<label name>` (mean over the cases that annotate the label and have it in prediction or reference) and
    `val/n_<label name>`, the number of these cases; with a tolerance for it also `val/nsd` and `val/nsd_<label name>`.
    `case_results` maps case id to what the latest validation measured.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: LabelScheme,
        patch_size: Vox,
        *,
        augmentation: BatchAugmentation | None,
        optimiser: OptimiserSettings,
        loss: LossSettings,
        budget: Budget,
        validation: ValidationSettings | None = None,
        channels_last: bool = False,
        carried: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.labels, self.patch_size = labels, patch_size
        self.augmentation, self.optimiser, self.budget = augmentation, optimiser, budget
        self.plateau = Plateau(optimiser.plateau_patience, optimiser.plateau_factor, optimiser.final_lr_share)
        self.loss = SegmentationLoss(loss_terms(loss), loss.head_weights)
        self.validation = validation or ValidationSettings()
        self.layout = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.case_results: dict[str, CaseResult] = {}
        self.carried = frozenset(carried)
        self.pace = Pace.begin()
        self.epoch_loss = LossMean()
        self._recent: list[Figure] = []
        self._cases: list[str] = []

    def forward(self, image: Tensor) -> Any:
        """Output of the network."""
        return self.network(image)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser; the learning rate is set at each step from the progress."""
        # a fused optimiser unscales gradients itself, which excludes clipping under fp16
        fused = self.trainer.precision != FP16
        return make_optimiser(self.network, self.optimiser, carried=self.carried, fused=fused)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Limit the norm of the gradient, and look at it: the weights of a step with an infinite one would be NaN.

        Lightning's own way refuses fused optimisers even under bf16.
        """
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.optimiser.clip_norm or math.inf)
        if self.trainer.precision != FP16:  # under which the gradient scaler leaves such a step out
            self._look_at("gradient's norm", norm)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Stop the clock that counts waiting for data."""
        if self.trainer.training:
            self.pace.batch_arrived()
        return batch

    @torch.no_grad()
    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalise; in training also augment. IMAGE becomes float32."""
        prepared = prepare_batch(batch, self.augmentation if self.trainer.training else None)
        return {**prepared, keys.IMAGE: prepared[keys.IMAGE].contiguous(memory_format=self.layout)}

    def on_train_start(self) -> None:
        """Let changed settings of the optimiser take effect after a resume.

        Start counting too, for Lightning then leaves `on_train_epoch_start` out.
        """
        restate(self.trainer.optimizers[0], self.optimiser)
        self.pace = Pace.begin()

    def on_train_epoch_start(self) -> None:
        """Start counting the epoch's pace."""
        self.pace = Pace.begin()

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Set the learning rate for this step."""
        rate = self.optimiser.lr * lr_factor(self.progress(), self.optimiser) * self.plateau.share
        set_rates(self.trainer.optimizers[0], rate, self.optimiser)

    def progress(self) -> float:
        """Progress of the whole training in 0..1, the same on every process."""
        progress = self.budget.progress(self.global_step)
        if self.trainer.world_size > 1:
            progress = float(self.trainer.strategy.broadcast(progress))
        return progress

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        loss: Tensor = self.loss(self(batch[keys.IMAGE]), batch[keys.LM], batch.get(keys.ANNOTATED))
        self._cases = batch[keys.CASE_ID]
        self._look_at("loss", loss.detach())
        self.epoch_loss.add(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Count the patches; log the epoch's loss with its last batch, so that every callback finds it."""
        self.pace.batch_done(len(batch[keys.IMAGE]))
        if self.trainer.is_last_batch or self.trainer.should_stop:
            self._log_loss()

    def on_train_epoch_end(self) -> None:
        """Log the pace and the learning rate."""
        self.check_finite()
        if not self.epoch_loss.logged:  # resumed within the validation: the last batch was another process's
            self._log_loss()
        self.epoch_loss = LossMean()
        figures = {"train/lr": self.trainer.optimizers[0].param_groups[0]["lr"], **self.pace.figures()}
        self.log_dict(figures, on_step=False, on_epoch=True, sync_dist=True)

    def _log_loss(self) -> None:
        """Log the mean over the epoch's batches."""
        mean, self.epoch_loss.logged = torch.tensor(self.epoch_loss.mean(), device=self.device), True
        self.log("train/loss", mean, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the losses of an unfinished epoch, the mean over the processes; nothing is saved after a NaN."""
        self.check_finite()
        total = torch.as_tensor(self.epoch_loss.total, dtype=torch.float64)
        if self.trainer.world_size > 1:
            total = self.trainer.strategy.reduce(total.to(self.device), reduce_op="mean")
        checkpoint[EPOCH_LOSS] = {"total": float(total), "count": self.epoch_loss.count}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Inverse of `on_save_checkpoint`."""
        self.epoch_loss = LossMean(**checkpoint.get(EPOCH_LOSS, {}))

    def _look_at(self, name: str, value: Tensor) -> None:
        self._recent.append(Figure(name, value, self._cases, self.global_step))
        if value.device.type not in QUEUED or len(self._recent) >= WINDOW:
            self.check_finite()

    def check_finite(self) -> None:
        """Raise `LossNotFinite` when a loss or a gradient since the last check was not finite.

        On a GPU they are looked at in groups, for each look waits for the device, and before each checkpoint. Under
        fp16 single losses are expected, the gradient scaler skips their steps: a whole group of them is too many.
        """
        scaled = self.trainer.precision == FP16
        if not self._recent or (scaled and len(self._recent) < WINDOW):
            return
        recent, self._recent = self._recent, []
        bad = (~torch.stack([figure.value for figure in recent]).isfinite()).tolist()
        if all(bad) if scaled else any(bad):
            raise LossNotFinite(_loss_message(recent[bad.index(True)], self.optimiser.lr))

    def on_validation_epoch_start(self) -> None:
        """Forget the former validation."""
        self.case_results = {}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Measure one case; returns case id, image, reference and predicted channels for callbacks.

        A label that the case's datasource does not annotate has no Dice: NaN, whatever is predicted there.
        """
        image, lm, case_id = batch[keys.IMAGE], batch[keys.LM], batch[keys.CASE_ID][0]
        n_classes, how = self.labels.n_classes, self.validation
        channels = predict_channels(self.network, image, self.patch_size, n_classes, how.overlap, how.tile_batch)
        drawn = batch[keys.ANNOTATED][0] if keys.ANNOTATED in batch else None
        spacing_mm = how.spacing_of(case_id)
        self.case_results[case_id] = measure_case(channels, lm[0, 0], n_classes, spacing_mm, how.nsd_mm, drawn)
        return {keys.CASE_ID: case_id, keys.IMAGE: image, keys.LM: lm, "prediction": channels}

    def on_validation_epoch_end(self) -> None:
        """Log means over cases per label, and over labels."""
        self.case_results = gathered(self.case_results, self.trainer.world_size)
        names = self.labels.channel_names[1:]
        figures = figures_of(self.case_results, names, with_nsd=self.validation.nsd_mm is not None)
        self.log_dict({k: torch.tensor(v, device=self.device) for k, v in figures.items()}, sync_dist=True)


def loss_terms(loss: LossSettings) -> Terms:
    """Terms of the loss from its settings."""
    weights = None if loss.class_weights is None else torch.tensor(loss.class_weights, dtype=torch.float32)
    return Terms(
        loss.dice_weight,
        loss.ce_weight,
        loss.batch_dice,
        loss.include_background,
        loss.smooth,
        weights,
        fp_weight=loss.fp_weight,
        fn_weight=loss.fn_weight,
        focus=loss.focus,
    )


def _loss_message(figure: Figure, lr: float) -> str:
    return (
        f"training stopped: the {figure.name} became {float(figure.value)} at step {figure.step}, batch of cases"
        f" {', '.join(figure.cases)}."
        f" Likely causes: the learning rate is too high (trainer.optimiser.lr={lr:g}; try a tenth of it), fp16 overflow"
        " (trainer.precision=bf16-mixed or 32-true), or damaged intensities in one of these cases."
        " Checkpoints of the run were written before this and can be resumed."
    )
