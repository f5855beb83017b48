"""SIGTERM, SIGUSR1 and Ctrl-C end a training at the end of a step, with a checkpoint from which it goes on exactly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from fran.errors import FranError

NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class TrainingInterrupted(FranError):
    """A signal ended the training early; what was done is kept.

    Attributes:
        status: exit status for the process, 128 and the signal's number, as a shell gives it.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        self.status = 128 + number

    def __reduce__(self) -> tuple[type[TrainingInterrupted], tuple[str, int]]:
        return type(self), (str(self), self.number)


class StopRequest:
    """Whether a signal has asked to stop, and which.

    Attributes:
        number: of the first signal that came, None before.
        deferred: the end of a step will look at `number`; else a signal ends the work at once.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.deferred = False

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. A second Ctrl-C does not wait for the end of the step."""
        if number == signal.SIGINT and (self.number == number or not self.deferred):
            raise KeyboardInterrupt
        self.number = self.number or number
        if not self.deferred:
            raise TrainingInterrupted(f"stopped by {name_of(number)} while no step was being trained", number)

    def listen(self) -> None:
        """Handle the signals from now on; outside the main thread Python does not allow it."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals for the length of the block."""
        former = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        try:
            yield
        finally:
            self.deferred = False
            if threading.current_thread() is threading.main_thread():
                for number, handler in former.items():
                    signal.signal(number, handler)


class StopOnSignal(Checkpoint):
    """Look at a `StopRequest` after each step and each validated case: write the checkpoint and end the training.

    A training interrupted in a validation does that validation again. Among several processes it is enough if one got
    the signal; validation, in which they do not step together, is then finished first.

    Args:
        request: what the signals asked for.
        path: of the checkpoint.
        how_to_go_on: end of the message.
    """

    def __init__(self, request: StopRequest, path: Path, how_to_go_on: str) -> None:
        self.request, self.path, self.how_to_go_on = request, path, how_to_go_on
        self._before_validation: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here a stop waits for the end of a step, after the last for that of the training.

        Lightning has put handlers of its own in between.
        """
        self.request.listen()
        self.request.deferred = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between epochs: the checkpoint is there."""
        if self._asked(trainer):
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a step of the optimiser; after an epoch's last, its validation or its end come first."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and not trainer.is_last_batch and self._asked(trainer):
            self._save_and_stop(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before a validation."""
        self._before_validation = before_validation(trainer.fit_loop.state_dict())
        if self._asked(trainer):
            self._save_and_stop(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Stop within a validation."""
        if trainer.world_size == 1 and self._asked(trainer):
            self._save_and_stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The validation is done."""
        self._before_validation = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """During a validation, let a resume begin with it."""
        if self._before_validation is not None:
            checkpoint["loops"]["fit_loop"] = self._before_validation

    def _asked(self, trainer: pl.Trainer) -> bool:
        asked = self.request.number is not None
        return trainer.strategy.reduce_boolean_decision(asked, all=False) if trainer.world_size > 1 else asked

    def _save_and_stop(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        number = self.request.number or signal.SIGTERM
        place = f"step {trainer.global_step}, epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        raise TrainingInterrupted(
            f"stopped by {name_of(number)} at {place}; {self.path} holds everything up to there. {self.how_to_go_on}",
            number,
        )


def before_validation(fit_loop: dict[str, Any]) -> dict[str, Any]:
    """State of Lightning's loops from which it goes on with the whole validation of a finished epoch.

    Lightning takes up a validation where one case was begun and none is done.
    """
    counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    validation = {"total": dict(counts), "current": dict(counts), "is_last_batch": False}
    return {**fit_loop, "epoch_loop.val_loop.batch_progress": validation}


def name_of(number: int) -> str:
    """Name of a signal as people type it.

    Example:
        >>> name_of(15), name_of(2)
        ('SIGTERM', 'Ctrl-C')
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
