"""Settings of a training as plain dataclasses; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fran.augmentation.settings import AugmentationSettings, no_augmentation
from fran.errors import ConfigError, SettingProblem, choices, raise_for_settings

__all__ = [
    "AugmentationSettings",
    "LossSettings",
    "OptimiserSettings",
    "TrainerSettings",
    "no_augmentation",
    "parse_duration",
]

OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "poly", "constant")
CACHES = ("none", "ram")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass
class OptimiserSettings:
    """Optimiser and the schedule of its learning rate over the progress of training.

    Attributes:
        name: "adamw" or "sgd" (Nesterov).
        lr: highest learning rate.
        weight_decay: not applied to biases and normalisation by AdamW.
        momentum: of SGD.
        schedule: "cosine", "poly" (exponent 0.9) or "constant".
        warmup: share of the training in which the rate rises linearly from 1/100.
        final_lr_share: the rate at the end, as a share of `lr`.
        clip_norm: largest norm of the gradient, 0 for no limit.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.99
    schedule: str = "cosine"
    warmup: float = 0.03
    final_lr_share: float = 0.01
    clip_norm: float = 12.0

    def problems(self) -> list[SettingProblem]:
        """What the types cannot rule out."""
        wanted = {
            "name": self.name in OPTIMISERS or choices(self.name, OPTIMISERS),
            "schedule": self.schedule in SCHEDULES or choices(self.schedule, SCHEDULES),
            "lr": self.lr > 0 or "a number above 0",
            "weight_decay": self.weight_decay >= 0 or "0 or more",
            "momentum": 0 <= self.momentum < 1 or "a share, 0 up to but not including 1",
            "clip_norm": self.clip_norm >= 0 or "a number above 0, or 0 for no limit",
            "warmup": 0 <= self.warmup < 1 or "a share, 0 up to but not including 1",
            "final_lr_share": 0 <= self.final_lr_share < 1 or "a share, 0 up to but not including 1",
        }
        return _unmet(self, "trainer.optimiser", wanted)


@dataclass
class LossSettings:
    """Dice plus cross-entropy, see `fran.losses.dice_ce`.

    Attributes:
        dice_weight, ce_weight: factors of the two terms.
        batch_dice: sum over the batch before the quotient.
        include_background: let class 0 count in the Dice term.
        smooth: added to numerator and denominator of Dice.
        class_weights: factors of the cross-entropy per class, background first; null for none.
    """

    dice_weight: float = 1.0
    ce_weight: float = 1.0
    batch_dice: bool = True
    include_background: bool = False
    smooth: float = 1e-5
    class_weights: list[float] | None = None

    def problems(self) -> list[SettingProblem]:
        """What the types cannot rule out."""
        weights = self.class_weights
        usable = weights is None or (min(weights, default=-1) >= 0 and sum(weights) > 0)
        wanted = {
            "dice_weight": self.dice_weight >= 0 or "0 or more",
            "ce_weight": self.ce_weight >= 0 or "0 or more",
            # without it a class that is nowhere makes 0 / 0
            "smooth": self.smooth > 0 or "a number above 0",
            "class_weights": usable or "weights of 0 or more, not all of them 0, or null for none",
        }
        if not self.dice_weight and not self.ce_weight:
            wanted["ce_weight"] = "above 0 where dice_weight is 0"
        return _unmet(self, "trainer.loss", wanted)


@dataclass
class TrainerSettings:
    """How long, on what and how a network is trained.

    Attributes:
        max_epochs: upper limit of epochs.
        steps_per_epoch: optimiser steps in an epoch.
        batch_size: crops per step and device.
        max_time: budget including validation, seconds or "HH:MM:SS"; the learning rate ends with it. null for none.
        precision: "auto", "32-true", "bf16-mixed" or "16-mixed"; auto takes bf16 where the hardware has it.
        accelerator: "auto", "cpu", "gpu" or another that Lightning knows.
        devices: number of devices, 1 unless several are wanted; -1 for all.
        strategy: Lightning's strategy for several devices.
        num_workers: loader processes; -1 chooses.
        threads: CPU threads of torch, 0 leaves them.
        val_every_n_epochs: epochs between validations; the last epoch is always validated. 0 switches validation off.
        max_val_cases: validate on that many cases, 0 for all.
        val_overlap: share of a tile that the next one covers.
        val_tile_batch: tiles per forward pass.
        fg_fraction: share of crops placed on foreground.
        class_sampling_weights: label name to frequency among the foreground crops.
        cache: "none" or "ram".
        seed: of weights, crops and augmentation.
        deterministic: ask torch for deterministic algorithms.
        channels_last: memory layout channels_last_3d.
        compile: torch.compile the network.
        early_stopping_epochs: stop when val/dice has not risen for so many epochs, 0 for never.
        progress: show a progress line.
        optimiser: see `OptimiserSettings`.
        loss: see `LossSettings`.
    """

    max_epochs: int = 1000
    steps_per_epoch: int = 250
    batch_size: int = 2
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
    fg_fraction: float = 0.5
    class_sampling_weights: dict[str, Any] = field(default_factory=dict)
    cache: str = "none"
    seed: int = 0
    deterministic: bool = False
    channels_last: bool = False
    compile: bool = False
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
            "fg_fraction": 0 <= self.fg_fraction <= 1 or "a share from 0 to 1",
            "max_time": self._has_time() or 'seconds above 0 or "HH:MM:SS", or null for no limit',
        }
        return [*_unmet(self, "trainer", wanted), *self.optimiser.problems(), *self.loss.problems()]

    def check(self) -> None:
        """Raise `ConfigError` naming every impossible setting."""
        raise_for_settings(self.problems())

    def _has_time(self) -> bool:
        try:
            return self.max_time_s is None or self.max_time_s > 0
        except ConfigError:
            return False


_AT_LEAST_ONE = ("max_epochs", "steps_per_epoch", "batch_size", "val_tile_batch")
_NOT_NEGATIVE = ("val_every_n_epochs", "max_val_cases", "threads", "early_stopping_epochs")


def _unmet(settings: object, group: str, wanted: Mapping[str, bool | str]) -> list[SettingProblem]:
    """Problems of the settings whose entry is not True but says what was expected."""
    return [
        SettingProblem(f"{group}.{name}", getattr(settings, name), expected)
        for name, expected in wanted.items()
        if isinstance(expected, str)
    ]


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
