"""The folds of one cross-validation as one result: every case was validated once, by a network that never saw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fran.errors import DataError
from fran.evaluation.intervals import bootstrap_means, nan_mean
from fran.io.case_table import CaseScore

METRICS = ("dice", "nsd")
OVERALL = "all labels"
#: A fold whose mean is at most this, where the others reach COUNTS, has collapsed.
COLLAPSED, COUNTS = 0.01, 0.1


@dataclass(frozen=True)
class FoldScores:
    """Validation of one fold: the fold, the run that stands for it, and a row for each case and label."""

    fold: int | str
    run: str
    scores: tuple[CaseScore, ...]


@dataclass(frozen=True)
class LabelResult:
    """One metric of one label over all cases.

    Attributes:
        label: name, or `OVERALL`: then `mean` is the mean over the labels' means.
        metric: "dice" or "nsd".
        n: cases that have a value.
        mean: over these cases, whatever their fold.
        low, high: bootstrap interval of the mean over cases.
        per_fold: mean in each fold, in the folds' order, NaN where no case has a value.
    """

    label: str
    metric: str
    n: int
    mean: float
    low: float
    high: float
    per_fold: tuple[float, ...]

    @property
    def fold_sd(self) -> float:
        """Standard deviation of the folds' means (n - 1), NaN for fewer than two."""
        known = [mean for mean in self.per_fold if math.isfinite(mean)]
        return float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


@dataclass(frozen=True)
class CvSummary:
    """What a cross-validation found.

    Attributes:
        folds: with their cases.
        results: Dice of each label and over labels, then NSD where it was measured.
        level: coverage of the intervals.
        collapsed: what must not be averaged silently, in words.
    """

    folds: tuple[FoldScores, ...]
    results: tuple[LabelResult, ...]
    level: float
    collapsed: tuple[str, ...]

    @property
    def n_cases(self) -> int:
        """Cases over all folds."""
        return len({score.case for fold in self.folds for score in fold.scores})

    def worst(self, n: int = 5) -> list[tuple[FoldScores, CaseScore]]:
        """The `n` lowest Dice, worst first."""
        rows = [(fold, s) for fold in self.folds for s in fold.scores if not math.isnan(s.dice)]
        return sorted(rows, key=lambda row: (row[1].dice, row[1].case, row[1].label))[:n]


def summarise_folds(
    folds: Sequence[FoldScores], level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> CvSummary:
    """Pool the cases of all folds.

    Args:
        folds: of one assignment of cases and of equal settings; that is for the caller to see to.
        level, samples, seed: of the bootstrap over cases.

    Raises:
        DataError: no case, or a case that two folds validated.
    """
    cases = _cases(folds)
    labels = list(dict.fromkeys(s.label for fold in folds for s in fold.scores))
    results: list[LabelResult] = []
    collapsed: list[str] = []
    for metric in METRICS:
        table = _table(folds, cases, labels, metric)
        if metric != "dice" and not np.isfinite(table).any():
            continue
        of_fold = np.array([cases[s] for s in cases])
        found = _results(table, of_fold, len(folds), [*labels, OVERALL], metric, (level, samples, seed))
        results += found
        if metric == "dice":
            collapsed = [line for result in found[:-1] for line in _collapsed(result, folds)]
    return CvSummary(tuple(folds), tuple(results), level, tuple(collapsed))


def _cases(folds: Sequence[FoldScores]) -> dict[str, int]:
    """Position of the fold of each case."""
    places: dict[str, int] = {}
    for position, fold in enumerate(folds):
        for case in dict.fromkeys(score.case for score in fold.scores):
            if case in places:
                former = folds[places[case]]
                raise DataError(
                    f"case {case}: expected it in one fold, found it validated by {former.run} (fold {former.fold})"
                    f" and {fold.run} (fold {fold.fold}); these runs cannot be pooled"
                )
            places[case] = position
    if not places:
        raise DataError("expected validated cases, found none; train with validation (trainer.val_every_n_epochs)")
    return places


def _table(
    folds: Sequence[FoldScores], cases: dict[str, int], labels: Sequence[str], metric: str
) -> NDArray[np.float64]:
    rows = {case: row for row, case in enumerate(cases)}
    columns = {label: column for column, label in enumerate(labels)}
    table = np.full((len(rows), len(columns)), np.nan)
    for fold in folds:
        for score in fold.scores:
            table[rows[score.case], columns[score.label]] = getattr(score, metric)
    return table


def _results(
    table: NDArray[np.float64],
    of_fold: NDArray[np.int64],
    n_folds: int,
    labels: Sequence[str],
    metric: str,
    bootstrap: tuple[float, int, int],
) -> list[LabelResult]:
    level, samples, seed = bootstrap
    low, high = bootstrap_means(table, samples, level, seed)
    counts = [*np.isfinite(table).sum(0), int(np.isfinite(table).any(axis=1).sum())]
    pooled = _with_overall(nan_mean(table, axis=0))
    by_fold = np.array([_with_overall(nan_mean(table[of_fold == f], axis=0)) for f in range(n_folds)])
    return [
        LabelResult(
            label,
            metric,
            int(counts[i]),
            float(pooled[i]),
            float(low[i]),
            float(high[i]),
            tuple(by_fold[:, i].tolist()),
        )
        for i, label in enumerate(labels)
    ]


def _with_overall(means: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(means, nan_mean(means[None], axis=1))


def _collapsed(result: LabelResult, folds: Sequence[FoldScores]) -> list[str]:
    lines = []
    for fold, mean in zip(folds, result.per_fold, strict=True):
        others = [m for f, m in zip(folds, result.per_fold, strict=True) if f is not fold and math.isfinite(m)]
        if mean <= COLLAPSED and others and max(others) >= COUNTS:
            lines.append(
                f"fold {fold.fold} ({fold.run}): {result.label} has Dice {mean:.3f}, the other folds"
                f" {min(others):.3f} to {max(others):.3f}; the training of this fold has failed for this label,"
                " and its cases are in the means"
            )
    return lines
