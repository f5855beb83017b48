"""Settings of the optimiser and of its learning rate."""

from __future__ import annotations

from dataclasses import dataclass

from fran.errors import SettingProblem, choices, unmet

OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "poly", "constant", "one_cycle", "plateau")


@dataclass
class OptimiserSettings:
    """Optimiser and the schedule of its learning rate over the progress of training.

    Attributes:
        name: "adamw" or "sgd" (Nesterov).
        lr: highest learning rate.
        weight_decay: not applied to biases and normalisation by AdamW.
        momentum: of SGD.
        schedule: "cosine", "poly" (exponent 0.9), "constant", "one_cycle" (its rise takes the first 0.3, whatever
            `warmup` says) or "plateau" (falls when val/dice stops rising).
        warmup: share of the training in which the rate rises linearly from 1/100.
        final_lr_share: the rate at the end, as a share of `lr`; plateau does not go below it.
        plateau_patience: validations without a rise of val/dice after which plateau lowers the rate.
        plateau_factor: by which it is then multiplied.
        clip_norm: largest norm of the gradient, 0 for no limit.
        carried_lr_share: learning rate of weights that `init_from` carried over, as a share of that of the others.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.99
    schedule: str = "cosine"
    warmup: float = 0.03
    final_lr_share: float = 0.01
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    clip_norm: float = 12.0
    carried_lr_share: float = 1.0

    def describe(self) -> str:
        """The essentials in words.

        Example:
            >>> OptimiserSettings(name="sgd", lr=0.01, schedule="one_cycle").describe()
            'SGD, learning rate 0.01, one-cycle schedule'
        """
        name = {"adamw": "AdamW", "sgd": "SGD"}.get(self.name, self.name)
        return f"{name}, learning rate {self.lr:g}, {self.schedule.replace('_', '-')} schedule"

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
            "plateau_patience": self.plateau_patience >= 1 or "1 or more",
            "plateau_factor": 0 < self.plateau_factor < 1 or "a share between 0 and 1",
            "carried_lr_share": 0 < self.carried_lr_share <= 1 or "a share above 0, up to 1",
        }
        return unmet(self, "trainer.optimiser", wanted)
