"""Settings of a training as plain dataclasses; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from fran.augmentation.settings import AugmentationSettings, no_augmentation
from fran.data.cache import CACHES
from fran.errors import ConfigError, SettingProblem, choices, raise_for_settings, unmet
from fran.training.loss_settings import LossSettings
from fran.training.optimiser_settings import OPTIMISERS, SCHEDULES, OptimiserSettings

__all__ = [
    "OPTIMISERS",
    "SCHEDULES",
    "AugmentationSettings",
    "LossSettings",
    "OptimiserSettings",
    "TrainerSettings",
    "no_augmentation",
    "parse_duration",
]


PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass
class TrainerSettings:
    """How long, on what and how a network is trained.

    Attributes:
        max_epochs: upper limit of epochs.
        steps_per_epoch: optimiser steps in an epoch.
        batch_size: crops per forward pass and device.
        accumulate: forward passes whose gradients make one optimiser step.
        max_time: for steps and validations, seconds or "HH:MM:SS", null for no limit; time for the last validation is
            set aside, and the schedule ends before it.
        precision: "auto", "32-true", "bf16-mixed" or "16-mixed"; auto takes bf16 where the hardware has it.
        accelerator: "auto", "cpu", "gpu" or another that Lightning knows.
        devices: number of devices, 1 unless several are wanted; -1 for all.
        strategy: Lightning's strategy for several devices.
        num_workers: loader processes; -1 takes none on a CPU, on a GPU one for each core of its share but one.
        threads: CPU threads of torch, 0 leaves them.
        val_every_n_epochs: epochs between validations; the last epoch is always validated. 0 switches validation off.
        max_val_cases: validate on that many cases, 0 for all.
        val_overlap: share of a tile that the next one covers.
        val_tile_batch: tiles per forward pass.
        val_nsd_mm: tolerance of the surface Dice that validation measures beside Dice; null does not measure it.
        fg_fraction: share of crops placed on foreground.
        class_sampling_weights: label name to frequency among the foreground crops.
        case_sampling_weights: case id to how often it is drawn; 1 for those not named.
        datasource_sampling_weights: datasource to how often each of its cases is drawn; 1 for those not named.
        cache: "none", "ram" (cases in memory) or "device" (training cases on the GPU, crops are cut there).
        seed: of weights, crops and augmentation.
        deterministic: ask torch for deterministic algorithms.
        channels_last: memory layout channels_last_3d.
        compile: torch.compile the network.
        ema_decay: validate and export an average of the weights over about 1 / (1 - ema_decay) steps; 0 for none.
        early_stopping_epochs: stop after a validation when val/dice has not risen for so many epochs, 0 for never.
        progress: show a progress line.
        optimiser: see `OptimiserSettings`.
        loss: see `LossSettings`.
    """

    max_epochs: int = 1000
    steps_per_epoch: int = 250
    batch_size: int = 2
    accumulate: int = 1
    max_time: str | None = None
    precision: str = "auto"
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    num_workers: int = -1
    threads: int = 0
    val_every_n_epochs: int = 10
    max_val_cases: int = 0
    val_overlap: float = 0.5
    val_tile_batch: int = 4
    val_nsd_mm: float | None = 2.0
    fg_fraction: float = 0.5
    class_sampling_weights: dict[str, Any] = field(default_factory=dict)
    case_sampling_weights: dict[str, Any] = field(default_factory=dict)
    datasource_sampling_weights: dict[str, Any] = field(default_factory=dict)
    cache: str = "none"
    seed: int = 0
    deterministic: bool = False
    channels_last: bool = False
    compile: bool = False
    ema_decay: float = 0.0
    early_stopping_epochs: int = 0
    progress: bool = True
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    @property
    def max_time_s(self) -> float | None:
        """The time budget in seconds."""
        return None if self.max_time is None else parse_duration(self.max_time)

    def problems(self) -> list[SettingProblem]:
        """What the types cannot rule out."""
        wanted: dict[str, bool | str] = {name: getattr(self, name) >= 1 or "1 or more" for name in _AT_LEAST_ONE}
        wanted |= {name: getattr(self, name) >= 0 or "0 or more" for name in _NOT_NEGATIVE}
        wanted |= {
            "precision": self.precision in PRECISIONS or choices(self.precision, PRECISIONS),
            "cache": self.cache in CACHES or choices(self.cache, CACHES),
            "val_overlap": 0 <= self.val_overlap < 1 or "a share, 0 up to but not including 1",
            "ema_decay": 0 <= self.ema_decay < 1 or "a share, 0 (none) up to but not including 1",
            "val_nsd_mm": self.val_nsd_mm is None
            or 0 <= self.val_nsd_mm < inf
            or "0 mm or more, or null to leave it out",
            "fg_fraction": 0 <= self.fg_fraction <= 1 or "a share from 0 to 1",
            "max_time": self._has_time() or 'seconds above 0 or "HH:MM:SS", or null for no limit',
        }
        return [*unmet(self, "trainer", wanted), *self.optimiser.problems(), *self.loss.problems()]

    def check(self) -> None:
        """Raise `ConfigError` naming every impossible setting."""
        raise_for_settings(self.problems())

    def _has_time(self) -> bool:
        try:
            return self.max_time_s is None or self.max_time_s > 0
        except ConfigError:
            return False


_AT_LEAST_ONE = ("max_epochs", "steps_per_epoch", "batch_size", "accumulate", "val_tile_batch")
_NOT_NEGATIVE = ("val_every_n_epochs", "max_val_cases", "threads", "early_stopping_epochs")


def parse_duration(text: str | float) -> float:
    """Seconds of "HH:MM:SS", "MM:SS" or a number of seconds.

    Raises:
        ConfigError: anything else.

    Example:
        >>> parse_duration("01:30:05"), parse_duration("90")
        (5405.0, 90.0)
    """
    parts = str(text).split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or any(n < 0 for n in numbers):
        raise ConfigError(f"trainer.max_time: expected seconds or HH:MM:SS, found {text!r}")
    seconds = 0.0
    for number in numbers:
        seconds = 60 * seconds + number
    return seconds
