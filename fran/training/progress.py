"""One line that tells how training goes: a live bar on a terminal, a log line an epoch elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from fran.training.schedule import Budget

SMOOTHING, BAR = 0.9, 12
"""Weight of earlier steps in the pace; columns that are left to the bar."""
log = logging.getLogger(__name__)


class ProgressLine(Callback):
    """Epoch, loss, Dice, seconds per step and time left.

    Args:
        budget: of the training.
        console: where a live bar goes; without a terminal there is none.
    """

    def __init__(self, budget: Budget, console: Console | None = None) -> None:
        self.budget = budget
        self.console = console or Console(stderr=True)
        self.loss: float | None = None  # of the last whole epoch; NaN is what training computed
        self.dice = float("nan")
        self.step_s = 0.0
        self._last = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._last = time.monotonic()
        if trainer.is_global_zero and self.console.is_terminal:
            self._bar = Progress(TextColumn("{task.description}"), BarColumn(20), console=self.console)
            self._task = self._bar.add_task("training", total=1.0)
            self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the step clock; validation does not count."""
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw."""
        now = time.monotonic()
        self.step_s = SMOOTHING * (self.step_s or now - self._last) + (1 - SMOOTHING) * (now - self._last)
        self._last = now
        if self._bar is not None:
            done = self.budget.progress(trainer.global_step)
            self._bar.update(self._task, completed=done, description=self.line(trainer, self.console.width - BAR))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the epoch's figures."""
        metrics = trainer.callback_metrics
        self.loss = float(metrics["train/loss"]) if "train/loss" in metrics else self.loss
        self.dice = float(metrics.get("val/dice", self.dice))
        if trainer.is_global_zero and self._bar is None:
            log.info(self.line(trainer))

    def line(self, trainer: pl.Trainer, width: int | None = None) -> str:
        """The text of the line; what matters least is left out where it is longer than `width`."""
        done = self.budget.progress(trainer.global_step)
        left = self.budget.elapsed_s * (1 - done) / done + self.budget.reserve_s if done else float("nan")
        dice = "-" if self.dice != self.dice else f"{self.dice:.3f}"
        loss = "-" if self.loss is None else f"{self.loss:.3f}"
        parts = [
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            f"step {trainer.global_step}",
            f"loss {loss}",
            f"dice {dice}",
            f"{self.step_s:.2f} s/step",
            f"left {clock(left)}",
        ]
        return fitting(parts, width)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message is readable."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def fitting(parts: Sequence[str], width: int | None) -> str:
    """The parts of a line, without those that do not fit into `width`: the step first, then the pace, then the loss.

    Example:
        >>> fitting(["epoch 1/8", "step 3", "loss 1.2", "dice -", "0.41 s/step", "left 0:01:00"], 50)
        'epoch 1/8  loss 1.2  dice -  left 0:01:00'
    """
    kept = list(parts)
    for number in (1, 4, 2):
        if width is not None and len("  ".join(kept)) > width:
            kept.remove(parts[number])
    return "  ".join(kept)


def clock(seconds: float) -> str:
    """H:MM:SS, or "?" where it cannot be told.

    Example:
        >>> clock(3725.0)
        '1:02:05'
    """
    if seconds != seconds:
        return "?"
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
