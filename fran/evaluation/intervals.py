"""How far a mean over cases may be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 500
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: coverage, draws, and the seed of the draws."""

    level: float = 0.95
    samples: int = 10_000
    seed: int = 0


def bootstrap_means(scores: Floats, samples: int = 10_000, level: float = 0.95, seed: int = 0) -> tuple[Floats, Floats]:
    """Percentile bootstrap intervals of the mean of each column, and of the mean of these means.

    Cases are drawn with replacement, whole rows at a time, so labels of one case stay together (Efron and Tibshirani,
    An Introduction to the Bootstrap, 1993, chapter 13). What is NaN counts neither as a case nor as a zero. The
    interval is about cases: how much another training of the same folds would differ is not in it.

    Args:
        scores: (cases, labels), NaN where a case has no score.
        samples: draws.
        level: coverage.
        seed: of the draws.

    Returns:
        lower and upper ends, (labels + 1,) each, the last for the mean over labels; NaN without any score.
    """
    known = np.isfinite(scores)
    values = np.where(known, scores, 0.0)
    of_labels = _drawn_ratios(values, known.astype(np.float64), samples, seed)
    return _ends(np.column_stack([of_labels, nan_mean(of_labels, axis=1)]), level)


def bootstrap_ratios(
    parts: Floats, wholes: Floats, samples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats]:
    """Percentile bootstrap intervals of ``parts.sum(0) / wholes.sum(0)``, such as lesions found of all lesions.

    Args:
        parts, wholes: (cases, ratios) counts; cases are drawn as `bootstrap_means` draws them.
        samples: draws.
        level: coverage.
        seed: of the draws.

    Returns:
        lower and upper ends, (ratios,) each; NaN where every whole is 0.
    """
    return _ends(_drawn_ratios(parts, wholes, samples, seed), level)


def nan_mean(values: Floats, axis: int) -> Floats:
    """Mean over what is not NaN; NaN, without a warning, where nothing is."""
    counts = np.isfinite(values).sum(axis)
    return _divide(np.nansum(values, axis=axis), counts)


def _drawn_ratios(parts: Floats, wholes: Floats, samples: int, seed: int) -> Floats:
    """(samples, columns) ratios of the sums over drawn cases."""
    drawn = np.full((samples, parts.shape[1]), np.nan)
    for rows, times in _draws(len(parts), samples, seed):
        drawn[rows] = _divide(times @ parts, times @ wholes)
    return drawn


def _draws(n_cases: int, samples: int, seed: int) -> Iterator[tuple[slice, Floats]]:
    """How often each case is in each draw, (draws, cases), some draws at a time; memory does not grow with labels."""
    generator = np.random.default_rng(seed)
    for start in range(0, samples if n_cases else 0, CHUNK):
        n = min(CHUNK, samples - start)
        cases = generator.integers(0, n_cases, (n, n_cases)) + np.arange(n)[:, None] * n_cases
        times = np.bincount(cases.ravel(), minlength=n * n_cases).reshape(n, n_cases)
        yield slice(start, start + n), times.astype(np.float64)


def _divide(sums: Floats, counts: NDArray[np.float64] | NDArray[np.int64]) -> Floats:
    result: Floats = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return result


def _ends(drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Ends of the interval of each column over the draws in which it is defined."""
    columns = [column[np.isfinite(column)] for column in drawn.T]
    tail = (1 - level) / 2
    low, high = (
        np.array([np.quantile(column, q) if len(column) else np.nan for column in columns]) for q in (tail, 1 - tail)
    )
    return low, high
