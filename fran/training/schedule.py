"""How far training is, and the learning rate at that point.

Progress is the larger of the share of steps and the share of time, so that a training limited by either ends with the
end of its schedule. Of the time, what the last validation will take is set aside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fran.training.settings import OptimiserSettings

POLY_EXPONENT = 0.9
WARMUP_START = 0.01
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
MOST_RESERVED = 0.8


@dataclass
class Budget:
    """Steps and seconds that a training may take.

    Attributes:
        max_steps: optimiser steps.
        max_time_s: seconds for steps and validations, the last one included; None for no limit.
        elapsed_before_s: seconds used before this process took over.
        reserve_s: seconds that the last validation will take; steps end so much earlier.
        clock: seconds since any moment.
    """

    max_steps: int
    max_time_s: float | None = None
    elapsed_before_s: float = 0.0
    reserve_s: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _started: float | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the clock."""
        self._started = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds used so far, interruptions left out."""
        return self.elapsed_before_s + (0.0 if self._started is None else self.clock() - self._started)

    @property
    def steps_end_s(self) -> float:
        """When the last step has to end, in elapsed seconds; at least a fifth of the time is left to steps."""
        if self.max_time_s is None:
            return math.inf
        return self.max_time_s - min(self.reserve_s, MOST_RESERVED * self.max_time_s)

    def progress(self, step: int) -> float:
        """0 at the start, 1 when no further step may begin."""
        by_steps, by_time = step / self.max_steps, self.elapsed_s / self.steps_end_s
        return min(1.0, max(by_steps, by_time))


def lr_factor(progress: float, settings: OptimiserSettings) -> float:
    """Share of the highest learning rate at `progress` in 0..1: warm-up, then the schedule.

    "plateau" is constant here, see `Plateau`. "one_cycle" is the two cosines of Smith & Topin 2018
    (https://arxiv.org/abs/1708.07120) as torch's OneCycleLR draws them, momentum left as it is.

    Example:
        >>> rates = OptimiserSettings(schedule="cosine", warmup=0.1, final_lr_share=0.0)
        >>> [round(lr_factor(p, rates), 2) for p in (0.0, 0.1, 0.55, 1.0)]
        [0.01, 1.0, 0.5, 0.0]
    """
    final = settings.final_lr_share
    if settings.schedule == "one_cycle":
        if progress < ONE_CYCLE_RISE:
            return _cosine(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE)
        return _cosine(1.0, final, (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))
    if progress < settings.warmup:
        return WARMUP_START + (1 - WARMUP_START) * progress / settings.warmup
    after = (progress - settings.warmup) / (1 - settings.warmup)
    shapes: dict[str, float] = {
        "cosine": _cosine(1.0, 0.0, after),
        "poly": (1 - after) ** POLY_EXPONENT,
        "constant": 1.0,
        "plateau": 1.0,
    }
    return final + (1 - final) * shapes[settings.schedule]


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass
class Plateau:
    """A factor of the learning rate that falls when a score stops rising.

    Attributes:
        patience: scores without a rise after which the factor falls.
        factor: by which it is then multiplied.
        lowest: it does not go below.
        best, waited, share: highest score, scores since then or since the last fall, the factor now.
    """

    patience: int
    factor: float
    lowest: float = 0.0
    best: float = -math.inf
    waited: int = 0
    share: float = 1.0

    def update(self, score: float) -> None:
        """Take a new score, of which higher is better; NaN counts as no rise.

        Example:
            >>> plateau = Plateau(patience=2, factor=0.5)
            >>> for score in (0.5, 0.4, 0.5, 0.6, 0.6, 0.5):
            ...     plateau.update(score)
            >>> plateau.share, plateau.best
            (0.25, 0.6)
        """
        self.waited = 0 if score > self.best else self.waited + 1
        self.best = max(self.best, score) if score == score else self.best
        if self.waited >= self.patience:
            self.share, self.waited = max(self.share * self.factor, self.lowest), 0
