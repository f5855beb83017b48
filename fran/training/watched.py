"""A training that somebody else watches: it reports each validation, and may be told to stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from fran.training.callbacks import BudgetEnd
from fran.training.interrupt import StopOnSignal

STOPPED_EARLY = "watcher"
_LOOK_SECONDS = 1.0

Report = Callable[[int, dict[str, float]], "str | None"]


class Watched(Checkpoint):
    """Report validations, and stop when that is wanted.

    A training that is stopped early ends as if its epochs were over: its files are written, its run is finished, and
    `FitResult.stopped_by` is "watcher". One that is interrupted ends at the next step with a checkpoint, as by a
    signal.

    Args:
        report: called with the epoch (from 1) and all metrics after each epoch that was validated, when its checkpoint
            is written; a text that it returns is the reason to stop early.
        interrupted: whether the training should be interrupted; asked once a second at most.
    """

    def __init__(self, report: Report, interrupted: Callable[[], bool]) -> None:
        self.report, self.interrupted = report, interrupted
        self._validated = False
        self._looked = 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """This epoch has something to report."""
        self._validated = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Ask whether to go on."""
        self._look(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Ask whether to go on."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report."""
        if not self._validated:
            return
        self._validated = False
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        reason = self.report(trainer.current_epoch + 1, metrics)
        if reason is None or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        if trainer.world_size > 1:  # the other processes listen to the request alone
            _request_of(trainer)(signal.SIGTERM)
            return
        trainer.should_stop = True
        _only(trainer, BudgetEnd).reason = STOPPED_EARLY

    def _look(self, trainer: pl.Trainer) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            if self.interrupted():
                _request_of(trainer)(signal.SIGTERM)


def _request_of(trainer: pl.Trainer) -> Any:
    return _only(trainer, StopOnSignal).request


def _only(trainer: pl.Trainer, kind: type[Any]) -> Any:
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))  # type: ignore[attr-defined]
