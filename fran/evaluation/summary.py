"""Scores over cases: means, medians, and how far they may be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fran.evaluation.cross_validation import OVERALL
from fran.evaluation.intervals import Bootstrap, bootstrap_means, bootstrap_ratios, nan_mean
from fran.evaluation.measures import LESIONS, Measures, Score, table_of
from fran.metrics.lesions import ratio

SHARES = ("precision", "recall", "f1")
#: Lesions are summed over cases before they are divided; a sum of volumes of different labels means nothing.
_NOT_MEANS, _NOT_OVERALL = ("f1",), ("diff_mm3",)


@dataclass(frozen=True)
class Estimate:
    """A number and the bootstrap interval over cases around it; NaN where nothing is defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Average:
    """One metric of one label over the cases that have it.

    Attributes:
        n: cases with a finite value; for all labels those with one of any label.
        infinite: cases with an infinite distance: one of the maps lacks the label.
        mean: of the finite values, with its interval; for all labels the mean of the labels' means.
        sd: standard deviation (n - 1) of the finite values.
        median: of all values; infinite ones are larger than any other.
    """

    n: int
    infinite: int
    mean: Estimate
    sd: float
    median: float


@dataclass(frozen=True)
class Found:
    """Lesions of one label summed over all cases."""

    pred_lesions: int
    ref_lesions: int
    tp: int
    fp: int
    fn: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class LabelSummary:
    """One label, or all of them together (`label` is None), over all scored cases.

    Attributes:
        label, name: of it.
        averages: by column of `Score`.
        lesions: None where they were not counted.
        both_empty, only_pred, only_ref: cases in which the label is in neither map, in the prediction alone, in the
            reference alone.
    """

    label: int | None
    name: str
    averages: Mapping[str, Average]
    lesions: Found | None
    both_empty: int
    only_pred: int
    only_ref: int


def summarise(scores: Sequence[Score], measures: Measures, how: Bootstrap) -> list[LabelSummary]:
    """One line a label in the order of their values, and one for all labels where there are several."""
    cases = list(dict.fromkeys(s.case_id for s in scores))
    labels = sorted({s.label for s in scores})
    names = {s.label: s.name for s in scores}
    columns = [column for column in measures.columns() if column not in _NOT_MEANS]
    averages = {column: _averages(table_of(scores, cases, labels, column), how) for column in columns}
    lesions = _found(scores, cases, labels, how) if LESIONS in measures.metrics else None
    keys: list[int | None] = [*labels]
    lines = [*keys, None] if len(labels) > 1 else keys
    return [
        _line(
            [s for s in scores if label is None or s.label == label],
            label,
            OVERALL if label is None else names[label],
            {c: averages[c][i] for c in columns if label is not None or c not in _NOT_OVERALL},
            lesions[i] if lesions else None,
        )
        for i, label in enumerate(lines)
    ]


def _line(
    scores: Sequence[Score], label: int | None, name: str, averages: Mapping[str, Average], lesions: Found | None
) -> LabelSummary:
    return LabelSummary(
        label=label,
        name=name,
        averages=averages,
        lesions=lesions,
        both_empty=sum(s.in_neither for s in scores),
        only_pred=sum(bool(s.pred_vox) and not s.ref_vox for s in scores),
        only_ref=sum(not s.pred_vox and bool(s.ref_vox) for s in scores),
    )


def _averages(table: NDArray[np.float64], how: Bootstrap) -> list[Average]:
    """Of each column, and of all of them."""
    finite = np.where(np.isfinite(table), table, np.nan)
    low, high = bootstrap_means(finite, how.samples, how.level, how.seed)
    means = nan_mean(finite, axis=0)
    every = [*table.T, table.ravel()]
    counts = [*np.isfinite(table).sum(0), np.isfinite(table).any(1).sum()]
    all_means = [*means, nan_mean(means[None], axis=1)[0]]
    return [
        _average(values, int(counts[i]), Estimate(float(mean), float(low[i]), float(high[i])))
        for i, (values, mean) in enumerate(zip(every, all_means, strict=True))
    ]


def _average(values: NDArray[np.float64], n: int, mean: Estimate) -> Average:
    defined = values[~np.isnan(values)]
    finite = defined[np.isfinite(defined)]
    return Average(
        n=n,
        infinite=len(defined) - len(finite),
        mean=mean,
        sd=float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan,
        median=_median(defined),
    )


def _median(values: NDArray[np.float64]) -> float:
    if not len(values):
        return math.nan
    low, high = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    return float(low if low == high else (low + high) / 2)


def _found(scores: Sequence[Score], cases: Sequence[str], labels: Sequence[int], how: Bootstrap) -> list[Found]:
    """Of each label, and of all of them."""
    counts = {name: table_of(scores, cases, labels, name) for name in ("tp", "fp", "fn")}
    # of a label that a case has no row for, nothing is counted
    tp, fp, fn = (np.column_stack([np.nan_to_num(t), np.nan_to_num(t).sum(1)]) for t in counts.values())
    parts = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
    ends = {
        name: bootstrap_ratios(part, whole, how.samples, how.level, how.seed) for name, (part, whole) in parts.items()
    }
    found = []
    for i in range(len(labels) + 1):
        shares = {
            name: Estimate(
                ratio(float(part[:, i].sum()), float(whole[:, i].sum())),
                float(ends[name][0][i]),
                float(ends[name][1][i]),
            )
            for name, (part, whole) in parts.items()
        }
        n_tp, n_fp, n_fn = (int(t[:, i].sum()) for t in (tp, fp, fn))
        found.append(Found(n_tp + n_fp, n_tp + n_fn, n_tp, n_fp, n_fn, **shares))
    return found
