"""Samplers: where the values of the next trial come from, and what they learn from the trials before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fran.tuning.space import Space

Draw = tuple[dict[str, Any], Mapping[str, Any] | None]


class Sampler(Protocol):
    """Draws values for trials."""

    def draw(self, number: int) -> Draw:
        """Values by key for the draw of that number, and what `tell` wants to have back about it."""

    def tell(self, drawn: Mapping[str, Any] | None, value: float | None, *, early: bool) -> None:
        """Learn how a trial ended.

        Args:
            drawn: second part of its `draw`.
            value: of the metric, None where it has none: it failed, or its loss became NaN.
            early: whether it was stopped before its end.
        """


class RandomSampler:
    """Independent draws: number n is the same whatever was drawn before, in another process too.

    Args:
        space: to draw from.
        seed: of all draws.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def draw(self, number: int) -> Draw:
        """As `Sampler` says."""
        return self.space.sample(np.random.default_rng([self.seed, number])), None

    def tell(self, drawn: Mapping[str, Any] | None, value: float | None, *, early: bool) -> None:
        """Nothing is learned."""


class OptunaSampler:
    """Optuna's tree-structured Parzen estimator over the space.

    Every domain draws through two calls, a share of 1 and a whole number below n, and these are what Optuna suggests.
    So it sees logarithms and steps as the domains do, and needs no translation of each kind.

    Args:
        space: to draw from.
        seed: of the sampler.
        largest: whether larger values are better.
    """

    def __init__(self, space: Space, seed: int, largest: bool = True) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self.space, self.optuna = space, optuna
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=8)
        self.study = optuna.create_study(direction="maximize" if largest else "minimize", sampler=sampler)
        self._asked: dict[int, Any] = {}

    def draw(self, number: int) -> Draw:
        """As `Sampler` says; `number` makes no difference."""
        trial = self.study.ask()
        values = self.space.sample_each(lambda key: _Suggesting(trial, key))  # type: ignore[arg-type, return-value]
        distributions = {k: self.optuna.distributions.distribution_to_json(d) for k, d in trial.distributions.items()}
        self._asked[trial.number] = trial
        return values, {"number": trial.number, "params": trial.params, "distributions": distributions}

    def tell(self, drawn: Mapping[str, Any] | None, value: float | None, *, early: bool) -> None:
        """As `Sampler` says; also of trials that another process has drawn."""
        if drawn is None:
            return
        states = self.optuna.trial.TrialState
        state = states.FAIL if value is None else states.PRUNED if early else states.COMPLETE
        final = value if state == states.COMPLETE else None
        ours = self._asked.get(drawn["number"])
        if ours is not None and ours.params == drawn["params"]:
            if early and value is not None:
                ours.report(value, 0)
            self.study.tell(ours, final, state=state)
            return
        from_json = self.optuna.distributions.json_to_distribution
        self.study.add_trial(
            self.optuna.trial.create_trial(
                state=state,
                value=final,
                params=dict(drawn["params"]),
                distributions={key: from_json(text) for key, text in drawn["distributions"].items()},
                intermediate_values={0: value} if value is not None else {},
            )
        )


class _Suggesting:
    """What a domain calls of a random generator, answered by a trial of Optuna's.

    The name of a parameter is the key that is drawn, and the how many-th number it is for it.
    """

    def __init__(self, trial: Any, key: str) -> None:
        self.trial, self.key, self.count = trial, key, 0

    def _name(self) -> str:
        self.count += 1
        return f"{self.key}#{self.count}"

    def random(self) -> float:
        """A share of 1."""
        return float(self.trial.suggest_float(self._name(), 0.0, 1.0))

    def integers(self, low: int, high: int | None = None) -> int:
        """A whole number, `high` left out; below `low` where that stands alone: then their order means nothing."""
        if high is None:
            return int(self.trial.suggest_categorical(self._name(), list(range(low))))
        return int(self.trial.suggest_int(self._name(), low, high - 1))
