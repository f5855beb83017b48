"""Two predictions of the same cases compared, case by case: is one better, or is it chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fran.errors import DataError
from fran.evaluation.cross_validation import OVERALL
from fran.evaluation.intervals import Bootstrap, bootstrap_means, nan_mean
from fran.evaluation.measures import COLUMNS, Score, table_of

#: Differences closer than this are one: rounding must not break ties between ranks.
DECIMALS = 9


@dataclass(frozen=True)
class Paired:
    """One metric of one label in two predictions, over the cases in which both have a finite value.

    Attributes:
        label: name, or `OVERALL`: then each case counts with its mean over labels.
        column: of `Score`.
        n: pairs.
        left_out: cases in which only one of the two has a finite value, or one is infinite.
        mean, against: of the two predictions over these pairs; of `OVERALL` the mean over the labels' means.
        difference, low, high: first less second, with its bootstrap interval over cases.
        wins, losses, ties: cases in which the first is better, worse, equal.
        p: of Wilcoxon's signed-rank test, two-sided; 1 where all pairs are equal, NaN without pairs.
        p_holm: adjusted by Holm for the number of labels; of `OVERALL`, which is one question of its own, p.
        n_labels: tested, for which p was adjusted.
    """

    label: str
    column: str
    n: int
    left_out: int
    mean: float
    against: float
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    p: float
    p_holm: float
    n_labels: int


def compare(scores: Sequence[Score], against: Sequence[Score], columns: Sequence[str], how: Bootstrap) -> list[Paired]:
    """Compare two tables of scores of the same references.

    Labels are matched by name; labels whose name only one side knows, by value. Cases that only one side has are left
    out; what is missing is for the caller to say.

    Args:
        scores: of the predictions that are asked about.
        against: of the others.
        columns: of `COLUMNS`, such as ``("dice", "hd95_mm")``; those that one side did not measure are passed over.
        how: intervals are made.

    Returns:
        For each column a line a label, in the order of their values, and one for all labels where there are several.

    Raises:
        DataError: no case or label in common, or scores of different references.
    """
    first, second = _matched(scores, against)
    cases = [c for c in dict.fromkeys(s.case_id for s in first) if c in {s.case_id for s in second}]
    labels = sorted({s.label for s in first} & {s.label for s in second})
    if not cases or not labels:
        raise DataError(
            f"against: expected scores of the same cases and labels, found {_some(second)}, which have nothing in"
            f" common with {_some(first)}"
        )
    kept = [[s for s in side if s.case_id in set(cases) and s.label in set(labels)] for side in (first, second)]
    _check_references(*kept)
    names = {s.label: s.name for s in first}
    lines: list[Paired] = []
    for column in columns:
        if all(any(getattr(s, column) is not None for s in side) for side in kept):
            ours, theirs = (table_of(side, cases, labels, column) for side in kept)
            lines += _compare(ours, theirs, [names[v] for v in labels], column, how)
    return lines


def signed_rank(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (1945): zeros are dropped; 1 where nothing differs, NaN of nothing."""
    from scipy.stats import wilcoxon

    if not len(differences):
        return math.nan
    rounded = np.round(differences, DECIMALS)
    return float(wilcoxon(rounded[rounded != 0]).pvalue) if rounded.any() else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p adjusted for being the smallest of several, step by step (Holm 1979); NaN stays and is not counted.

    Example:
        >>> holm([0.04, 0.01, 0.03])
        [0.06, 0.03, 0.06]
    """
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    adjusted, largest = list(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, p[i] * (len(order) - place)))
        adjusted[i] = largest
    return adjusted


Verdict = Literal["better", "worse", "mixed", "not shown", "too few", "no pairs"]


def verdict(line: Paired, level: float = 0.95) -> Verdict:
    """What a line shows at a significance of ``1 - level``.

    ``"mixed"``: most cases differ in one direction, a few by much in the other, so that test and mean disagree.
    ``"too few"``: so few cases differ that the test could not tell even if all of them agreed.
    """
    alpha, moved = 1 - level, line.wins + line.losses
    if not line.n:
        return "no pairs"
    if line.p_holm < alpha:
        if line.low <= 0 <= line.high:
            return "mixed"
        return "better" if line.difference * COLUMNS[line.column].better > 0 else "worse"
    return "too few" if moved and line.n_labels * 2.0 ** (1 - moved) >= alpha else "not shown"


def sentence(line: Paired, level: float = 0.95) -> str:
    """What a line means, in plain words."""
    metric, moved = COLUMNS[line.column], line.wins + line.losses
    if not line.n:
        return f"{line.label}: {metric.title} cannot be compared: no case has a value in both."
    low, high, difference = (f"{v:+.{metric.digits}f}" for v in (line.low, line.high, line.difference))
    cases = f"{line.n} case{'s' if line.n > 1 else ''}, {line.wins} better and {line.losses} worse"
    unit = f" {metric.unit}" if metric.unit else ""
    found = f"{line.label}: {metric.title} {difference}{unit} ({100 * level:g} % interval {low} to {high}; {cases})"
    p = f"p {_p(line.p_holm)}"
    meaning = {
        "better": f"Better: chance alone would seldom give this ({p}).",
        "worse": f"Worse: chance alone would seldom give this ({p}).",
        "mixed": f"Most cases differ in one direction ({p}), but large differences in the other leave the mean"
        " undecided: look at the cases.",
        "too few": f"Only {moved} case{'s differ' if moved > 1 else ' differs'}: too few for this test to tell.",
        "not shown": f"No difference shown ({p}); that does not make them equal: any difference within the interval"
        " fits these cases.",
    }
    return f"{found}. {meaning[verdict(line, level)]}"


def _matched(scores: Sequence[Score], against: Sequence[Score]) -> tuple[list[Score], list[Score]]:
    """Both sides with one value a label: where both know a name, that of the first side."""
    value = {s.name: s.label for s in scores}
    theirs = {s.name for s in against}
    common = value.keys() & theirs
    rest_of_first = {s.label for s in scores if s.name not in common}
    matched = []
    for score in against:
        if score.name in common:
            matched.append(replace(score, label=value[score.name]))
        elif score.label in rest_of_first and score.label > 0:
            matched.append(score)
    return list(scores), matched


def _check_references(first: Sequence[Score], second: Sequence[Score]) -> None:
    """Scores can only be paired where both come from the same references."""
    theirs = {(s.case_id, s.label): s for s in second}
    other = [
        (s, theirs[s.case_id, s.label].ref_vox)
        for s in first
        if (s.case_id, s.label) in theirs
        and s.ref_vox != theirs[s.case_id, s.label].ref_vox
        and min(s.ref_vox, theirs[s.case_id, s.label].ref_vox) >= 0
    ]
    if other:
        score, vox = other[0]
        raise DataError(
            f"against: expected scores of the same references, found {len(other)} rows of others: {score.name} of"
            f" {score.case_id} has {score.ref_vox} voxels in one and {vox} in the other; score both against the same"
        )


def _compare(
    first: NDArray[np.float64], second: NDArray[np.float64], names: Sequence[str], column: str, how: Bootstrap
) -> list[Paired]:
    """One line a column of (cases, labels), and one for all."""
    both = np.isfinite(first) & np.isfinite(second)
    either = ~np.isnan(first) | ~np.isnan(second)
    first, second = (np.where(both, table, np.nan) for table in (first, second))
    difference = first - second
    low, high = bootstrap_means(difference, how.samples, how.level, how.seed)
    of_cases = nan_mean(difference, axis=1)
    columns = [*difference.T, of_cases]
    means = [_with_overall(nan_mean(table, axis=0)) for table in (first, second, difference)]
    left_out = [*(either & ~both).sum(0), int((either & ~both).any(1).sum())]
    p = [signed_rank(values[~np.isnan(values)]) for values in columns]
    adjusted = [*holm(p[:-1]), p[-1]]
    lines = []
    for i, name in enumerate([*names, OVERALL] if len(names) > 1 else names):
        values = np.round(columns[i][~np.isnan(columns[i])], DECIMALS) * COLUMNS[column].better
        lines.append(
            Paired(
                label=name,
                column=column,
                n=len(values),
                left_out=int(left_out[i]),
                mean=float(means[0][i]),
                against=float(means[1][i]),
                difference=float(means[2][i]),
                low=float(low[i]),
                high=float(high[i]),
                wins=int((values > 0).sum()),
                losses=int((values < 0).sum()),
                ties=int((values == 0).sum()),
                p=p[i],
                p_holm=adjusted[i],
                n_labels=1 if name == OVERALL else sum(not math.isnan(value) for value in p[:-1]),
            )
        )
    return lines


def _with_overall(means: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(means, nan_mean(means[None], axis=1))


def _some(scores: Sequence[Any]) -> str:
    cases, labels = list(dict.fromkeys(s.case_id for s in scores)), list(dict.fromkeys(s.name for s in scores))
    return f"cases {', '.join(cases[:3])}, … and labels {', '.join(labels[:3])}" if cases else "no matching rows"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
