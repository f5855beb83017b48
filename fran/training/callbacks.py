"""Callbacks of every training: checkpoints, metrics.csv, the end of the budget, and a line of progress."""

from __future__ import annotations

import csv
import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fran.io.checkpoint import BEST, LAST, read_checkpoint, write_checkpoint
from fran.io.files import atomic_path
from fran.training.schedule import Budget, Plateau

METRICS = "metrics.csv"
LEADING = ("epoch", "step", "elapsed_s")
NEVER = 2**62
"""An interval of validations that no training reaches."""
log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and are loaded as plain data only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write under a temporary name, sync, rename."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load with ``weights_only=True`` whatever the caller says."""
        return read_checkpoint(path, map_location or "cpu")


class RunFiles(Checkpoint):
    """Write last.ckpt after each epoch, best.ckpt when `val/dice` rises, and a row of metrics.csv.

    Args:
        folder: of the run.
        columns: metrics that get a column.
        budget: source of the elapsed time.

    Attributes:
        best_dice: highest so far.
        best_epoch: of that, from 1 as in every file of a run; 0 where nothing was validated.
    """

    def __init__(self, folder: Path, columns: list[str], budget: Budget) -> None:
        self.folder, self.columns, self.budget = folder, columns, budget
        self.best_dice, self.best_epoch = -math.inf, 0
        self.validated = False

    def state_dict(self) -> dict[str, Any]:
        """Best value so far, kept in the checkpoint."""
        return {"best_dice": self.best_dice, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.best_dice, self.best_epoch = state_dict["best_dice"], state_dict["best_epoch"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop rows of epochs that a resumed training repeats."""
        if trainer.is_global_zero:
            keep_rows_up_to(self.folder / METRICS, trainer.current_epoch, [*LEADING, *self.columns])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember that this epoch was validated."""
        self.validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the files of this epoch."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        dice = metrics.get("val/dice", math.nan) if self.validated else math.nan
        better = dice > self.best_dice
        if better:
            self.best_dice, self.best_epoch = dice, trainer.current_epoch + 1
        trainer.save_checkpoint(self.folder / LAST)
        if trainer.is_global_zero:
            if better:
                copy_checkpoint(self.folder / LAST, self.folder / BEST)
            self._add_row(trainer, metrics)
        self.validated = False

    def _add_row(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        known = {k: v for k, v in metrics.items() if self.validated or not k.startswith("val/")}
        place = (trainer.current_epoch + 1, trainer.global_step, round(self.budget.elapsed_s, 2))
        row = {**dict(zip(LEADING, place, strict=True)), **known}
        append_row(self.folder / METRICS, [*LEADING, *self.columns], row)


def metric_columns(label_names: Sequence[str], *, with_nsd: bool = False) -> list[str]:
    """Names of the metrics that a training logs, in the order of metrics.csv."""
    train = ["train/loss", "train/lr", "train/data_wait_share", "train/patches_per_s"]
    nsd = ["val/nsd", *(f"val/nsd_{name}" for name in label_names)] if with_nsd else []
    return [*train, "val/dice", *(f"val/{what}_{name}" for what in ("dice", "n") for name in label_names), *nsd]


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy atomically. A hard link would be cheaper, but then damage to one file would be damage to both."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def append_row(path: Path, columns: list[str], row: dict[str, Any]) -> None:
    """Add one row to a csv file, with a header when the file is new; values without a column are dropped."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def keep_rows_up_to(path: Path, epoch: int, columns: list[str]) -> None:
    """Remove rows after `epoch` (from 1), and a last row that was cut short; put the others under `columns`."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    header = rows[0] if rows else []
    kept = [row for row in rows[1:] if len(row) == len(header) and row[0].isdigit() and int(row[0]) <= epoch]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(dict(zip(header, row, strict=True)) for row in kept)


class BudgetEnd(Callback):
    """Stop when the time is up, and validate the last epoch whatever the interval.

    A validation after which no time for steps would be left is put off to the end.

    Args:
        budget: of the training.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.reason = "max_epochs"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning leaves `on_train_epoch_start` out for the first epoch after a resume."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the last epoch be validated."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            validate_now(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the end of the time."""
        if self.budget.max_time_s is None:
            return
        left = self.budget.steps_end_s - self.budget.elapsed_s
        spent, late = left <= 0, left <= self.budget.reserve_s
        if trainer.world_size > 1:
            spent, late = trainer.strategy.broadcast((spent, late))
        if spent:
            self.reason, trainer.should_stop = "max_time", True
            validate_now(trainer)
        elif late and trainer.is_last_batch and trainer.current_epoch + 1 != trainer.max_epochs:
            trainer.check_val_every_n_epoch = NEVER


class EarlyStop(Checkpoint):
    """Stop after a validation when `val/dice` has not risen for some epochs.

    A `Checkpoint`, and given after `RunFiles`, so that Lightning calls it when the validation has been taken in.

    Args:
        epochs: without a rise after which to stop.
        files: knows the best epoch.
        end: is told why the training ended.
    """

    def __init__(self, epochs: int, files: RunFiles, end: BudgetEnd) -> None:
        self.epochs, self.files, self.end = epochs, files, end
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """This epoch may be the last."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop when nothing has improved for long; a training that ends by itself keeps that reason."""
        validated, self._validated = self._validated, False
        if not validated or trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        if self.files.best_epoch and trainer.current_epoch + 1 - self.files.best_epoch >= self.epochs:
            self.end.reason, trainer.should_stop = "early_stopping", True


def validate_now(trainer: pl.Trainer) -> None:
    """Have this epoch end with a validation, unless validation is switched off."""
    if trainer.limit_val_batches:
        trainer.check_val_every_n_epoch = 1


class PlateauRate(Callback):
    """Lower the learning rate when `val/dice` has stopped rising.

    Args:
        plateau: the factor that the module multiplies the rate by.
    """

    def __init__(self, plateau: Plateau) -> None:
        self.plateau = plateau

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the new score."""
        before = self.plateau.share
        self.plateau.update(float(trainer.callback_metrics["val/dice"]))
        if self.plateau.share < before:
            log.info("val/dice stands at %.4f: learning rate times %g", self.plateau.best, self.plateau.share / before)

    def state_dict(self) -> dict[str, Any]:
        """The score's history, kept in the checkpoint."""
        return dict(vars(self.plateau))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`; patience and factor may have been changed since."""
        for name in ("best", "waited", "share"):
            setattr(self.plateau, name, state_dict[name])
