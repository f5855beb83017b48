"""Which rules of post-processing help, label by label, and whether that can be relied on.

Two readings of every case are enough. The first lists the connected components of each predicted label with size and
overlap with the reference, from which the Dice after any removal follows without a look at a voxel. The second fills
the holes of what the chosen removals leave.

A rule that was picked as the best of many looks better on the cases it was picked on than it is. So the gain that
decides is held out: for each fold the rule is picked on the other folds' cases and judged on its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fran.errors import CaseProblem, CasesFailed, DataError
from fran.evaluation.intervals import Bootstrap, bootstrap_means, nan_mean
from fran.inference.postprocess import Components, apply_rules, kept_components
from fran.io.volume import read_volume
from fran.labels import Remapping
from fran.parallel.jobs import Execute, Failure
from fran.parallel.local import run_jobs
from fran.preprocessing.foreground import label_boxes
from fran.projects.mask_labels import LabelRule

#: Thresholds that are tried, in mm³: what 1, 2 and 5 times a power of ten give from a voxel to a large lesion.
THRESHOLDS_MM3 = tuple(step * 10.0**power for power in range(5) for step in (1, 2, 5))
K_LARGEST = (None, 1, 2, 3)
#: With fewer cases than this even a gain in every one of them could be chance (sign test at 5 %).
LEAST_CASES = 6
#: Parts that cases of one fold are dealt to.
PARTS = 5

Found = TypeVar("Found")


@dataclass(frozen=True)
class SearchCase:
    """A prediction, its reference, and how the two are compared.

    Attributes:
        case_id: of the case.
        pred: label map as predicted, without post-processing.
        ref: label map of the annotators.
        fold: that validated the case.
        remapping: from the reference's values to the prediction's.
        labels: values of the prediction that the case's annotators drew.
    """

    case_id: str
    pred: Path
    ref: Path
    fold: int | str
    remapping: Remapping
    labels: frozenset[int]


@dataclass(frozen=True)
class Trial:
    """One rule for one label, compared with leaving the label as it is.

    Attributes:
        label: value.
        name: of the label.
        rule: what was tried.
        n: cases that have the label in prediction or reference.
        before, after: mean Dice over these; where both maps are empty it counts as 1.
        low, high: bootstrap interval of the mean gain, over the cases that the rule was picked on.
        helped, harmed: cases whose Dice rose, and fell.
        held_out, held_low, held_high: gain on cases that the pick has not seen, and its interval; NaN for rules that
            were not the best.
        kept: whether it becomes a rule.
        why: in words.
    """

    label: int
    name: str
    rule: LabelRule
    n: int
    before: float
    after: float
    low: float
    high: float
    helped: int
    harmed: int
    held_out: float = math.nan
    held_low: float = math.nan
    held_high: float = math.nan
    kept: bool = False
    why: str = ""

    @property
    def gain(self) -> float:
        """Of the mean Dice."""
        return self.after - self.before


@dataclass(frozen=True, eq=False)
class LabelComponents:
    """The components of one label of one case, and what they share with the reference.

    Attributes:
        sizes: (n,) voxels.
        centres: (n, 3).
        shared: (n,) voxels that bear the label in the reference too.
        ref_vox: voxels of the label in the reference.
        voxel_mm3: volume of a voxel.
    """

    sizes: NDArray[np.int64]
    centres: NDArray[np.float64]
    shared: NDArray[np.int64]
    ref_vox: int
    voxel_mm3: float

    def dice(self, rule: LabelRule) -> float:
        """After a rule's removals; 1 where nothing is left and nothing should be."""
        kept = kept_components(self.sizes, rule, self.voxel_mm3, lambda: self.centres)
        return dice_of(int(self.sizes[kept].sum()), self.ref_vox, int(self.shared[kept].sum()))


@dataclass(frozen=True)
class Fill:
    """Voxels of one label of one case in prediction, reference and both; of its holes, and of those filled rightly."""

    pred_vox: int
    ref_vox: int
    both_vox: int
    filled_vox: int
    filled_right_vox: int

    @property
    def dice(self) -> tuple[float, float]:
        """Before and after."""
        filled, right = self.pred_vox + self.filled_vox, self.both_vox + self.filled_right_vox
        return dice_of(self.pred_vox, self.ref_vox, self.both_vox), dice_of(filled, self.ref_vox, right)


def dice_of(pred_vox: int, ref_vox: int, both_vox: int) -> float:
    """Dice, 1 where both are empty: a false island that is gone is a gain."""
    total = pred_vox + ref_vox
    return 2 * both_vox / total if total else 1.0


def search_rules(
    cases: Sequence[SearchCase],
    names: Mapping[int, str],
    how: Bootstrap,
    num_processes: int = 1,
    execute: Execute = run_jobs,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trial]:
    """Every rule that was tried, label by label, with the verdict about each.

    Args:
        cases: of one model, or of the folds of one cross-validation.
        names: of the labels that have to be looked at, by value.
        how: intervals, and by their seed how cases of one fold are dealt to parts.
        num_processes: cases read at once.
        execute: where, see `fran.parallel.backends.backend`.
        on_case: called with (readings done, readings in all).

    Raises:
        CasesFailed: label maps that cannot be read or compared.
        DataError: no case.
    """
    if not cases:
        raise DataError("expected cases with a prediction and a reference, found none")
    labels = sorted(names)
    told = _Counter(on_case, 2 * len(cases))
    components = _each(partial(components_of, labels=labels), cases, num_processes, execute, told)
    trials = [t for v in labels for t in _removals(v, names[v], [found.get(v) for found in components], cases, how)]
    chosen = kept_rules(trials)
    fills = _each(partial(fills_of, labels=labels, rules=chosen), cases, num_processes, execute, told)
    trials += [_filling(v, names[v], chosen.get(v), [found.get(v) for found in fills], how) for v in labels]
    return sorted(trials, key=lambda trial: trial.label)


def kept_rules(trials: Iterable[Trial]) -> dict[int, LabelRule]:
    """The rules that are kept, by label value."""
    return {trial.label: trial.rule for trial in trials if trial.kept}  # filling, tried last, has the removals in it


def components_of(case: SearchCase, labels: Sequence[int]) -> dict[int, LabelComponents]:
    """Components of each label that the case's annotators drew and that is in prediction or reference.

    Raises:
        DataError: the two maps are of different shapes.
    """
    pred, ref, voxel_mm3 = _read(case)
    boxes, counts = label_boxes(pred)[1], label_boxes(ref)[0]
    nothing = (np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, np.int64))
    found = {}
    for value in case.labels.intersection(labels):
        if value in boxes:
            box = tuple(slice(a, b) for a, b in zip(*boxes[value], strict=True))
            parts = Components.of(pred[box], value)
            inside = parts.numbers[ref[box] == value]
            shared = np.bincount(inside, minlength=len(parts.sizes) + 1)[1:]
            found[value] = LabelComponents(parts.sizes, parts.centres(), shared, counts.get(value, 0), voxel_mm3)
        elif value in counts:
            found[value] = LabelComponents(*nothing, counts[value], voxel_mm3)
    return found


def fills_of(case: SearchCase, labels: Sequence[int], rules: Mapping[int, LabelRule]) -> dict[int, Fill]:
    """What filling the holes of each label does once the rules have removed what they remove."""
    pred, ref, voxel_mm3 = _read(case)
    pred = np.require(pred, requirements=["W"])
    apply_rules(pred, rules, voxel_mm3)
    boxes, counts = label_boxes(pred)[1], label_boxes(ref)[0]
    found = {}
    for value in case.labels.intersection(labels):
        if value not in boxes and value not in counts:
            continue
        if value not in boxes:
            found[value] = Fill(0, counts[value], 0, 0, 0)
            continue
        box = tuple(slice(a, b) for a, b in zip(*boxes[value], strict=True))
        part, truth = pred[box], ref[box] == value
        own = part == value
        filled = part.copy()
        apply_rules(filled, {value: LabelRule(fill_holes=True)}, voxel_mm3)
        new = (filled == value) & ~own
        masks = (own, own & truth, new, new & truth)
        pred_vox, both_vox, new_vox, new_right_vox = (int(np.count_nonzero(mask)) for mask in masks)
        found[value] = Fill(pred_vox, counts.get(value, 0), both_vox, new_vox, new_right_vox)
    return found


def candidates() -> list[LabelRule]:
    """Removals that are tried, the gentlest first; the first changes nothing."""
    rules = [LabelRule(dusting_threshold_mm3=t, k_largest=k) for k in K_LARGEST for t in (0.0, *THRESHOLDS_MM3)]
    return sorted(rules, key=lambda r: (bool(r.dusting_threshold_mm3 and r.k_largest), -(r.k_largest or 99)))


def _read(case: SearchCase) -> tuple[NDArray[np.generic], NDArray[np.generic], float]:
    pred, ref = read_volume(case.pred, role="lm"), read_volume(case.ref, role="lm")
    if pred.grid.shape != ref.grid.shape:
        raise DataError(f"expected label maps of one shape, found {pred.grid.shape} and {ref.grid.shape}: {case.ref}")
    return pred.array, case.remapping.apply(ref.array), math.prod(pred.grid.spacing_mm)


def _removals(
    value: int, name: str, found: Sequence[LabelComponents | None], cases: Sequence[SearchCase], how: Bootstrap
) -> list[Trial]:
    """Trials of removals: the best has the verdict, another that changes the same as a gentler one is left out."""
    with_label = [(case, parts) for case, parts in zip(cases, found, strict=True) if parts is not None]
    rules: list[LabelRule] = []
    columns: list[NDArray[np.float64]] = []
    for rule in candidates():
        column = np.array([parts.dice(rule) for _, parts in with_label])
        if not any(np.array_equal(column, other) for other in columns):
            rules.append(replace(rule, name=name))
            columns.append(column)
    if len(rules) < 2:
        return []
    dice = np.stack(columns, axis=1)
    gains = dice - dice[:, :1]
    best = _pick(gains)
    folds = _parts([case.fold for case, _ in with_label], how.seed)
    held_out = np.concatenate([gains[folds == f, _pick(gains[folds != f])] for f in np.unique(folds)])
    low, high = bootstrap_means(gains[:, 1:], how.samples, how.level, how.seed)
    trials = [_trial(value, rules[i], dice[:, 0], dice[:, i], (low[i - 1], high[i - 1])) for i in range(1, len(rules))]
    if not best:
        return [_without_gain(trial) for trial in trials]
    judged = _judged(trials[best - 1], held_out, how)
    return [judged if i == best else replace(t, why=f"less than {judged.rule.words}") for i, t in enumerate(trials, 1)]


def _filling(value: int, name: str, chosen: LabelRule | None, found: Sequence[Fill | None], how: Bootstrap) -> Trial:
    pairs = np.array([fill.dice for fill in found if fill is not None]).reshape(-1, 2)
    rule = replace(chosen or LabelRule(name=name), fill_holes=True)
    gains = pairs[:, 1] - pairs[:, 0]
    if not gains.any():
        nan = (math.nan, math.nan)
        mean = float(pairs[:, 0].mean()) if len(pairs) else math.nan
        return Trial(value, name, rule, len(pairs), mean, mean, *nan, 0, 0, why="no holes to fill")
    low, high = bootstrap_means(gains[:, None], how.samples, how.level, how.seed)
    trial = _trial(value, rule, pairs[:, 0], pairs[:, 1], (low[0], high[0]))
    if trial.gain <= 0:
        return _without_gain(trial)
    return _judged(trial, gains, how)  # one rule is no choice among many: nothing has to be held out


def _trial(
    value: int, rule: LabelRule, before: NDArray[np.float64], after: NDArray[np.float64], ends: tuple[float, float]
) -> Trial:
    gains = after - before
    low, high = map(float, ends)
    means = (float(before.mean()), float(after.mean()))
    return Trial(value, rule.name, rule, len(gains), *means, low, high, int((gains > 0).sum()), int((gains < 0).sum()))


def _without_gain(trial: Trial) -> Trial:
    return replace(trial, why="hurts" if trial.high < 0 else "within noise: no gain")


def _judged(trial: Trial, held_out: NDArray[np.float64], how: Bootstrap) -> Trial:
    """The verdict about the best rule."""
    mean = float(nan_mean(held_out[:, None], axis=0)[0])
    lows, highs = bootstrap_means(held_out[:, None], how.samples, how.level, how.seed)
    low, high = float(lows[0]), float(highs[0])
    enough = trial.n >= LEAST_CASES
    kept = enough and low > 0
    if kept:
        why = "kept"
    elif not enough:
        why = f"not kept: {trial.n} cases, fewer than {LEAST_CASES}"
    elif high < 0:
        why = "hurts: the held-out gain is below 0"
    else:
        why = "within noise: the interval of the held-out gain reaches 0"
    return replace(trial, held_out=mean, held_low=low, held_high=high, kept=kept, why=why)


def _pick(gains: NDArray[np.float64]) -> int:
    """Column of the largest mean gain, of equal ones the first; 0, nothing, where none gains."""
    if not len(gains):
        return 0
    means = gains.mean(axis=0)
    return int(np.argmax(np.round(means, 12)))


def _parts(folds: Sequence[int | str], seed: int) -> NDArray[np.int64]:
    """Part of each case: its fold, or where there is one fold alone, drawn."""
    known = sorted(set(folds), key=str)
    if len(known) > 1:
        return np.array([known.index(fold) for fold in folds])
    n = len(folds)
    return np.random.default_rng(seed).permutation(np.arange(n) % min(PARTS, n))


class _Counter:
    """Readings done, over both rounds."""

    def __init__(self, on_case: Callable[[int, int], None], total: int) -> None:
        self.on_case, self.total, self.done = on_case, total, itertools.count(1)
        on_case(0, total)

    def __call__(self) -> None:
        self.on_case(next(self.done), self.total)


def _each(
    function: Callable[[SearchCase], Found],
    cases: Sequence[SearchCase],
    num_processes: int,
    execute: Execute,
    told: Callable[[], None],
) -> list[Found]:
    results: dict[int, Found] = {}
    problems = []
    for index, result in execute(function, cases, num_processes):
        if isinstance(result, Failure):
            problems.append(_problem(cases[index], result))
        else:
            results[index] = result
        told()
    if problems:
        raise CasesFailed(f"{len(problems)} of {len(cases)} cases could not be compared", problems)
    return [results[index] for index in range(len(cases))]


def _problem(case: SearchCase, failure: Failure) -> CaseProblem:
    return CaseProblem(
        case_id=case.case_id,
        path=str(case.pred),
        what="not compared",
        expected="a prediction and a reference on one grid",
        found=failure.message or failure.kind,
        next_step="repair or predict this case again; delete its prediction to have it made anew",
    )
