"""Which settings of a sweep made a difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MIN_TRIALS = 6


@dataclass(frozen=True)
class Importance:
    """One setting's share in how trials rank.

    Attributes:
        key: of the setting; one number of a list is ``key[0]``.
        n: trials that have it.
        share: of the variance of ranks that it explains by itself, 0 to 1: of a number a rank correlation squared, of
            anything else eta squared.
        p: of random assignments of its values to the trials, the share that explain as much.
        better: "larger" or "smaller" of a number, else the value with the best mean rank.
    """

    key: str
    n: int
    share: float
    p: float
    better: str


def importances(
    settings: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    largest: bool = True,
    draws: int = 2000,
    seed: int = 0,
) -> list[Importance]:
    """Importance of each setting that differs between trials, the largest share first; none of few trials.

    One setting is looked at at a time, so settings that matter only together are missed, and of two that always go
    together either may have done it. With few trials a large share is often chance, which `Importance.p` tells.

    Args:
        settings: of each trial, by key.
        values: of each trial's metric; NaN ranks last.
        largest: whether larger values are better.
        draws: random assignments behind `Importance.p`.
        seed: of these.

    Example:
        >>> rates = [{"lr": rate, "seed": 0} for rate in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
        >>> [(one.key, one.share, one.better) for one in importances(rates, [1, 2, 3, 4, 5, 6, 7])]
        [('lr', 1.0, 'larger')]
    """
    if len(settings) < MIN_TRIALS:
        return []
    flat = [_flat(one) for one in settings]
    score = _ranks(np.array([(v if largest else -v) if math.isfinite(v) else -math.inf for v in values]))
    keys = list(dict.fromkeys(key for one in flat for key in one))
    found = [_importance(key, flat, score, draws, np.random.default_rng(seed)) for key in keys]
    return sorted((one for one in found if one is not None), key=lambda one: (-one.share, one.key))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of numbers as one entry a number."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, list | tuple) and value and all(map(_is_number, value)):
            flat |= {f"{key}[{i}]": item for i, item in enumerate(value)}
        else:
            flat[key] = value
    return flat


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _importance(
    key: str, flat: Sequence[Mapping[str, Any]], score: Floats, draws: int, rng: np.random.Generator
) -> Importance | None:
    having = [i for i, one in enumerate(flat) if key in one]
    values, ranks = [flat[i][key] for i in having], score[having]
    different = {str(value) for value in values}
    numeric = all(map(_is_number, values))
    # words that are all different explain everything, and say nothing
    if len(having) < MIN_TRIALS or len(different) < 2 or (len(different) == len(having) and not numeric):
        return None
    if numeric and len(different) > 2:
        numbers = _ranks(np.array(values, dtype=np.float64))
        share = _correlation(numbers, ranks) ** 2
        by_chance = [_correlation(numbers, rng.permutation(ranks)) ** 2 for _ in range(draws)]
        better = "larger" if _correlation(numbers, ranks) > 0 else "smaller"
    else:
        groups = np.unique([str(value) for value in values], return_inverse=True)[1]
        share = _eta_squared(groups, ranks)
        by_chance = [_eta_squared(groups, rng.permutation(ranks)) for _ in range(draws)]
        means = np.bincount(groups, ranks) / np.bincount(groups)
        better = str(next(v for v, g in zip(values, groups, strict=True) if g == int(means.argmax())))
    at_least = sum(chance >= share - 1e-12 for chance in by_chance)
    return Importance(key, len(having), round(float(share), 6), (1 + at_least) / (1 + draws), better)


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties get their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Floats = ends - (counts - 1) / 2.0
    return mean[inverse]


def _correlation(one: Floats, two: Floats) -> float:
    a, b = one - one.mean(), two - two.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def _eta_squared(groups: NDArray[np.int64], ranks: Floats) -> float:
    total = float(((ranks - ranks.mean()) ** 2).sum())
    counts = np.bincount(groups)
    means = np.bincount(groups, ranks) / counts
    return float((counts * (means - ranks.mean()) ** 2).sum()) / total if total else 0.0
