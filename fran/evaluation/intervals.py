"""How far a mean over cases may be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK = 500


def bootstrap_means(
    scores: NDArray[np.float64], samples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    n_cases, n_labels = scores.shape
    means = np.full((samples, n_labels + 1), np.nan)
    if n_cases:
        generator = np.random.default_rng(seed)
        for start in range(0, samples, CHUNK):
            drawn = scores[generator.integers(0, n_cases, (min(CHUNK, samples - start), n_cases))]
            of_labels = nan_mean(drawn, axis=1)
            means[start : start + len(drawn), :n_labels] = of_labels
            means[start : start + len(drawn), n_labels] = nan_mean(of_labels, axis=1)
    tail = (1 - level) / 2
    ends = [_quantile(means, q) for q in (tail, 1 - tail)]
    return ends[0], ends[1]


def nan_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean over what is not NaN; NaN, without a warning, where nothing is."""
    counts = np.isfinite(values).sum(axis)
    sums = np.nansum(values, axis=axis)
    result: NDArray[np.float64] = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return result


def _quantile(means: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """Quantile of each column over the draws in which it is defined."""
    columns = [column[np.isfinite(column)] for column in means.T]
    return np.array([np.quantile(column, q) if len(column) else np.nan for column in columns])
