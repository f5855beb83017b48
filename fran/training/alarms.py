"""Watch a training and say once, in words, what looks wrong."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from fran.data.datamodule import CropDataModule
from fran.data.source import CaseSource
from fran.io.checkpoint import LAST
from fran.io.files import read_json, write_json
from fran.training import alarm_rules as rules
from fran.training.alarm_rules import Alarm, Done, LabelHistory
from fran.training.convolution import convolution_seconds, has_cudnn, has_onednn
from fran.training.module import LossNotFinite, SegmentationModule
from fran.training.settings import TrainerSettings

FILE = "alarms.json"
log = logging.getLogger(__name__)


@dataclass
class History:
    """Figures of the run so far, kept in its checkpoints.

    Attributes:
        losses, waits: of each epoch: mean loss, share of the time spent waiting for data.
        dices: `val/dice` of each validation.
        label_dice, predicted_mm3: label name to a value for each validation.
    """

    losses: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    dices: list[float] = field(default_factory=list)
    label_dice: dict[str, list[float]] = field(default_factory=dict)
    predicted_mm3: dict[str, list[float]] = field(default_factory=dict)


class Alarms(Callback):
    """Raise each alarm of `fran.training.alarm_rules` once in a run: a warning and a row of alarms.json.

    Args:
        run_folder: of the run; alarms.json is written there when there is something to say.
        settings: of the training.
        accelerator, precision: what it runs on, resolved.
        falls: whether the loss is expected to fall, which it need not where training starts from other weights.
    """

    def __init__(
        self, run_folder: Path, settings: TrainerSettings, accelerator: str, precision: str, *, falls: bool = True
    ) -> None:
        self.path = run_folder / FILE
        self.settings, self.accelerator, self.precision, self.falls = settings, accelerator, precision, falls
        self.history = History()
        self._raised: list[dict[str, Any]] = []
        self._ref_mm3: dict[str, float] = {}
        self._placed: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The figures, kept in the checkpoint."""
        return asdict(self.history)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.history = History(**state_dict)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What can be told before the first step."""
        if not trainer.is_global_zero:
            return
        if self.path.is_file():
            self._raised = read_json(self.path)
        found = [rules.missing_kernels(self.accelerator, onednn=has_onednn(), cudnn=has_cudnn()), self._slow(trainer)]
        data = trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        if isinstance(data, CropDataModule):
            found += absent_classes(data)
            self._placed = dict(zip(data.data.labels.channel_names, data.crops.placed_shares().tolist(), strict=True))
        found.append(self._disk(pl_module))
        self._raise(found, trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Loss, pace and disk."""
        assert isinstance(pl_module, SegmentationModule)
        pace, history = pl_module.pace, self.history
        history.losses.append(pl_module.epoch_loss.mean())
        history.waits.append(pace.figures()["train/data_wait_share"])
        if not trainer.is_global_zero:
            return
        found = [self._starved(trainer, pace.finished - pace.started), self._disk(pl_module)]
        if self.falls:
            found.append(rules.flat_loss(history.losses, trainer.global_step, self.settings.optimiser.lr))
        self._raise(found, trainer.current_epoch + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Labels and overfitting."""
        assert isinstance(pl_module, SegmentationModule)
        if trainer.sanity_checking or not pl_module.case_results:
            return
        self._remember(pl_module, float(trainer.callback_metrics["val/dice"]))
        if trainer.is_global_zero:
            found = self._collapsed(trainer, pl_module, at_end=False)
            found = [*found, rules.overfitting(self.history.dices, self.history.losses)]
            self._raise(found, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A label that was Dice 0 to the end, also in a short training."""
        if trainer.is_global_zero and isinstance(pl_module, SegmentationModule):
            self._raise(self._collapsed(trainer, pl_module, at_end=True), trainer.current_epoch)  # one further by now

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """A loss that is not finite ends the training; its message goes to the others."""
        if isinstance(exception, LossNotFinite) and trainer.is_global_zero:
            seen, _, advice = str(exception).partition(" Likely causes: ")
            cause, _, remedy = advice.partition(". ")
            self._note(Alarm("loss not finite", "", seen, cause, remedy), trainer.current_epoch + 1)

    def _remember(self, module: SegmentationModule, val_dice: float) -> None:
        results, history = list(module.case_results.values()), self.history
        history.dices.append(val_dice)
        for n, name in enumerate(module.labels.channel_names[1:]):
            with_ref = [r for r in results if r.ref_mm3[n] > 0]
            known = [float(r.dice[n]) for r in with_ref if np.isfinite(r.dice[n])]
            history.label_dice.setdefault(name, []).append(float(np.mean(known)) if known else float("nan"))
            history.predicted_mm3.setdefault(name, []).append(float(sum(r.pred_mm3[n] for r in results)))
            self._ref_mm3[name] = float(np.mean([r.ref_mm3[n] for r in with_ref])) if with_ref else 0.0

    def _collapsed(self, trainer: pl.Trainer, module: SegmentationModule, *, at_end: bool) -> list[Alarm | None]:
        settings, steps, history = self.settings, module.global_step, self.history
        voxel_mm3 = [float(np.prod(side)) for side in module.validation.spacing_mm.values()]
        size = float(np.mean(voxel_mm3)) if voxel_mm3 else 1.0
        crops = steps * settings.accumulate * settings.batch_size * trainer.world_size
        val_steps = settings.steps_per_epoch * max(settings.val_every_n_epochs, 1)
        done = Done(module.budget.progress(steps), steps, val_steps, at_end)
        pasts = {
            name: LabelHistory(
                tuple(dice),
                tuple(history.predicted_mm3[name]),
                self._ref_mm3.get(name, 0.0),
                size,
                crops * self._placed.get(name, 0.0),
            )
            for name, dice in history.label_dice.items()
        }
        return [rules.collapsed_class(name, past, done) for name, past in pasts.items()]

    def _starved(self, trainer: pl.Trainer, epoch_s: float) -> Alarm | None:
        data = trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        if not isinstance(data, CropDataModule):
            return None
        crops, loader = data.crops, trainer.train_dataloader
        workers = loader.num_workers if isinstance(loader, DataLoader) else 0
        transforms = crops.artefacts is not None
        return rules.data_starvation(self.history.waits, epoch_s, workers, crops.source.cache, transforms=transforms)

    def _slow(self, trainer: pl.Trainer) -> Alarm | None:
        if self.precision == "32-true" and not self.settings.channels_last:
            return None
        device = trainer.strategy.root_device
        seconds = convolution_seconds(device, self.precision, channels_last=self.settings.channels_last)
        return rules.slow_convolution(seconds, self.precision, self.settings.channels_last)

    def _disk(self, module: pl.LightningModule) -> Alarm | None:
        last = self.path.with_name(LAST)
        # weights and two moments of AdamW, until a checkpoint is there to be measured
        size = last.stat().st_size if last.is_file() else 12 * sum(p.numel() for p in module.parameters())
        return rules.disk_nearly_full(shutil.disk_usage(self.path.parent).free, size)

    def _raise(self, found: Iterable[Alarm | None], epoch: int) -> None:
        for alarm in found:
            if alarm is not None and self._note(alarm, epoch):
                log.warning("%s", alarm)

    def _note(self, alarm: Alarm, epoch: int) -> bool:
        """Write the alarm down; False where the run has had it."""
        if any((row["name"], row["subject"]) == (alarm.name, alarm.subject) for row in self._raised):
            return False
        self._raised.append({**asdict(alarm), "epoch": epoch})
        write_json(self.path, self._raised)
        return True


def absent_classes(data: CropDataModule) -> list[Alarm | None]:
    """Labels that no training case, or no validation case, holds."""
    names = data.data.labels.channel_names
    train, val = data.crops.source, None if data.cases is None else data.cases.source
    n_train, n_val = _holders(train, len(names)), None if val is None else _holders(val, len(names))
    return [rules.absent_class(names[c], n_train[c], None if n_val is None else n_val[c]) for c in range(1, len(names))]


def _holders(source: CaseSource, n_classes: int) -> list[int]:
    """How many cases hold each channel."""
    held: list[set[str]] = [set() for _ in range(n_classes)]
    for file_id in source.case_ids:
        for channel in source.channels_present(file_id):
            held[channel].add(source.manifest.cases[file_id].parent or file_id)
    return [len(cases) for cases in held]
