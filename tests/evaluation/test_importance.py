from __future__ import annotations

import numpy as np
from scipy.stats import rankdata, spearmanr

from fran.evaluation.importance import importances


def _trials(n: int = 40, seed: int = 0) -> tuple[list[dict[str, object]], list[float]]:
    rng = np.random.default_rng(seed)
    trials: list[dict[str, object]] = []
    values = []
    for _ in range(n):
        lr, model, noise = 10 ** rng.uniform(-4, -1), str(rng.choice(["a", "b", "c"])), float(rng.random())
        trials.append({"lr": lr, "model": model, "noise": noise, "range": [noise, 1.0], "same": 3})
        values.append(float(np.log10(lr) + 2 * (model == "b") + 0.2 * rng.normal()))
    return trials, values


def test_what_matters_comes_before_what_does_not() -> None:
    trials, values = _trials()
    found = importances(trials, values)
    assert {one.key for one in found[:2]} == {"lr", "model"}
    by_key = {one.key: one for one in found}
    assert set(by_key) == {"lr", "model", "noise", "range[0]"}, "what is the same everywhere explains nothing"
    assert by_key["lr"].better == "larger" and by_key["model"].better == "b"
    assert by_key["lr"].p < 0.01 and by_key["model"].p < 0.01 < by_key["noise"].p
    turned = {one.key: one for one in importances(trials, values, largest=False)}
    assert turned["lr"].better == "smaller" and turned["model"].better != "b"
    assert turned["lr"].share == by_key["lr"].share


def test_shares_are_those_of_the_textbook() -> None:
    trials, values = _trials(25, seed=4)
    by_key = {one.key: one for one in importances(trials, values)}
    rates = [float(str(t["lr"])) for t in trials]
    assert abs(by_key["lr"].share - spearmanr(rates, values).statistic ** 2) < 1e-6
    ranks = rankdata(values)
    groups = [ranks[[t["model"] == m for t in trials]] for m in "abc"]
    between = sum(len(g) * (g.mean() - ranks.mean()) ** 2 for g in groups)
    assert abs(by_key["model"].share - between / ((ranks - ranks.mean()) ** 2).sum()) < 1e-6


def test_a_trial_without_a_value_ranks_last() -> None:
    rates = [{"lr": float(n)} for n in range(8)]
    (found,) = importances(rates, [1, 2, 3, 4, 5, 6, float("nan"), float("nan")])
    (without,) = importances(rates[:6], [1, 2, 3, 4, 5, 6])
    assert without.share == 1 > found.share


def test_few_trials_say_nothing() -> None:
    assert importances([{"lr": float(n)} for n in range(5)], [1, 2, 3, 4, 5]) == []
