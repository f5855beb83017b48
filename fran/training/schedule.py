"""How far training is, and the learning rate at that point.

Progress is the larger of the share of steps and the share of time, so that a training limited by either ends with the
end of its schedule.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from fran.training.settings import OptimiserSettings

POLY_EXPONENT = 0.9
WARMUP_START = 0.01


@dataclass
class Budget:
    """Steps and seconds that a training may take.

    Attributes:
        max_steps: optimiser steps.
        max_time_s: seconds, None for no limit.
        elapsed_before_s: seconds used before this process took over.
    """

    max_steps: int
    max_time_s: float | None = None
    elapsed_before_s: float = 0.0
    _started: float | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds used so far, interruptions left out."""
        return self.elapsed_before_s + (0.0 if self._started is None else time.monotonic() - self._started)

    def progress(self, step: int) -> float:
        """0 at the start, 1 when the budget is used up."""
        by_steps = step / self.max_steps
        by_time = 0.0 if self.max_time_s is None else self.elapsed_s / self.max_time_s
        return min(1.0, max(by_steps, by_time))


def lr_factor(progress: float, settings: OptimiserSettings) -> float:
    """Share of the highest learning rate at `progress` in 0..1: linear warm-up, then the schedule.

    Example:
        >>> rates = OptimiserSettings(schedule="cosine", warmup=0.1, final_lr_share=0.0)
        >>> [round(lr_factor(p, rates), 2) for p in (0.0, 0.1, 0.55, 1.0)]
        [0.01, 1.0, 0.5, 0.0]
    """
    if progress < settings.warmup:
        return WARMUP_START + (1 - WARMUP_START) * progress / settings.warmup
    after = (progress - settings.warmup) / (1 - settings.warmup)
    shapes: dict[str, float] = {
        "cosine": 0.5 * (1 + math.cos(math.pi * after)),
        "poly": (1 - after) ** POLY_EXPONENT,
        "constant": 1.0,
    }
    return settings.final_lr_share + (1 - settings.final_lr_share) * shapes[settings.schedule]
