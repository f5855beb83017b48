"""Asynchronous successive halving: trials that are not among the best at a rung are stopped (Li et al. 2020).

Rungs are at `grace`, `grace` · `factor`, `grace` · `factor`², … epochs. A trial that reaches a rung goes on if its
best value so far is among the best 1/`factor` of all that have reached it. Nobody is stopped before `factor` trials
have been there, for the first ones would only be compared with chance. The rule is that of stopping, not of
promoting, so that no trial waits for others.
"""

from __future__ import annotations

import math

from fran.errors import counted


class Halving:
    """The rungs of one search.

    Args:
        grace: epochs before the first rung.
        factor: one in so many goes on.
        largest: whether larger values are better.

    Example:
        >>> rule = Halving(grace=2, factor=3)
        >>> [rule.judge(trial, 2, value) is None for trial, value in enumerate((0.1, 0.2, 0.3, 0.25))]
        [True, True, True, True]
        >>> rule.judge(4, 2, 0.15)
        '0.15 after 2 epochs: 4th of 5 trials, the best 2 go on'
    """

    def __init__(self, grace: int, factor: float, largest: bool = True) -> None:
        self.grace, self.factor, self.sign = grace, factor, 1 if largest else -1
        self._best: dict[int, float] = {}
        self._rungs: dict[int, dict[int, float]] = {}

    def judge(self, trial: int, epoch: int, value: float) -> str | None:
        """Take a trial's value at an epoch (from 1); the reason why it should stop, None where it goes on.

        NaN is worse than any number. A rung that a trial has passed before counts once.
        """
        value = self.sign * value if not math.isnan(value) else -math.inf
        best = self._best[trial] = max(value, self._best.get(trial, -math.inf))
        reason = None
        for rung in self._reached(epoch):
            seen = self._rungs.setdefault(rung, {})
            if trial not in seen:
                seen[trial] = best
                reason = self._why(trial, rung) or reason
        return reason

    def _reached(self, epoch: int) -> list[int]:
        rungs, rung = [], float(self.grace)
        while round(rung) <= epoch:
            rungs.append(round(rung))
            rung *= self.factor
        return rungs

    def _why(self, trial: int, rung: int) -> str | None:
        seen = self._rungs[rung]
        rank = 1 + sum(value > seen[trial] for value in seen.values())
        kept = math.ceil(len(seen) / self.factor)
        if len(seen) < self.factor or rank <= kept:
            return None
        shown = self.sign * seen[trial]
        ending = {1: "st", 2: "nd", 3: "rd"}.get(rank % 10 if rank % 100 not in (11, 12, 13) else 0, "th")
        return (
            f"{shown:.4g} after {counted(rung, 'epoch')}: {rank}{ending} of {len(seen)} trials, the best {kept} go on"
        )
