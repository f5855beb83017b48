"""Settings of a search."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from fran.errors import SettingProblem, choices, raise_for_settings

SAMPLERS = ("random", "optuna")
SCHEDULERS = ("none", "asha")
MODES = ("max", "min")


@dataclass(frozen=True)
class SearchSettings:
    """How a space is searched; ``hydra.sweeper`` of ``hydra/sweeper=ray_tune``.

    Attributes:
        trials: how many are trained.
        max_time: for the whole search, seconds or "HH:MM:SS"; null for no limit. Then no trial begins, and those that
            run stop at their next step and go on when the search does.
        concurrent: trials at a time at most; 0 is as many as the cluster has room for.
        metric: a column of metrics.csv that validation fills.
        mode: "max" or "min".
        sampler: "random", or "optuna" (TPE, which learns from the trials that are done).
        seed: of the draws.
        scheduler: "asha" stops trials early that are not among the best, "none" lets all run to their end.
        grace: epochs before a trial can be stopped.
        factor: one trial in so many goes on at each rung.
    """

    trials: int = 20
    max_time: str | None = None
    concurrent: int = 0
    metric: str = "val/dice"
    mode: str = "max"
    sampler: str = "random"
    seed: int = 0
    scheduler: str = "none"
    grace: int = 10
    factor: float = 3.0

    def check(self, prefix: str = "hydra.sweeper") -> None:
        """Raise `ConfigError` naming every impossible setting."""
        wanted = {
            "trials": self.trials >= 1 or "1 or more",
            "concurrent": self.concurrent >= 0 or "0 (as many as fit) or more",
            "metric": self.metric.startswith("val/") or "a metric of validation, such as val/dice or val/dice_tumour",
            "mode": self.mode in MODES or choices(self.mode, MODES),
            "sampler": self.sampler in SAMPLERS or choices(self.sampler, SAMPLERS),
            "scheduler": self.scheduler in SCHEDULERS or choices(self.scheduler, SCHEDULERS),
            "grace": self.grace >= 1 or "1 epoch or more",
            "factor": self.factor > 1 or "a number above 1",
        }
        if self.sampler == "optuna" and find_spec("optuna") is None:
            wanted["sampler"] = "random, for Optuna is not installed: pip install 'fran[optuna]'"
        raise_for_settings(
            [SettingProblem(f"{prefix}.{k}", getattr(self, k), v) for k, v in wanted.items() if isinstance(v, str)]
        )
