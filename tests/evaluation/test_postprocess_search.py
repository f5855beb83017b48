"""Which rules are kept: predictions with islands, lesions, holes and luck, whose best rules are known."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.errors import CasesFailed
from fran.evaluation.intervals import Bootstrap
from fran.evaluation.postprocess_report import rows_of, write_trials
from fran.evaluation.postprocess_search import SearchCase, Trial, kept_rules, search_rules
from fran.inference.postprocess import apply_rules
from fran.labels import Remapping
from fran.projects.mask_labels import LabelRule, read_rules

AFFINE = np.diag([1.0, 2.0, 2.5, 1.0])  # 5 mm³
NAMES = {1: "organ", 2: "lesion", 3: "vessel", 4: "rare"}
HOW = Bootstrap(samples=1000)
N = 10


def _maps(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and reference: an organ with islands, small true lesions, a vessel with a hole."""
    rng = np.random.default_rng(number)
    ref = np.zeros((24, 14, 11), np.uint8)
    ref[2:10, 2:9, 1 : 7 + number % 3] = 1
    ref[14:18, 2:6, 2:6] = 3
    pred = ref.copy()
    pred[2, 2:9] = 0
    pred[15, 3 + number % 2, 3] = 0  # in the vessel
    for place in range(2 + number % 3):
        pred[12, 2 + 3 * place, 8 : 8 + rng.integers(1, 4)] = 1
        ref[20 + place % 2, 1 + 3 * place, 5] = pred[20 + place % 2, 1 + 3 * place, 5] = 2
    if number == 0:
        pred[22, 12, 9] = 4  # a single false voxel of a label that two other cases have
    if number in (1, 2):
        ref[22, 8:12, 9] = pred[22, 8:12, 9] = 4
    return pred, ref


def _cases(folder: Path, n: int = N, n_folds: int = 5) -> list[SearchCase]:
    cases = []
    for number in range(n):
        pred, ref = _maps(number)
        paths = folder / f"pred_{number}.nii.gz", folder / f"ref_{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(pred, AFFINE), paths[0])
        # the annotators called the organ 7
        nibabel.save(nibabel.Nifti1Image(np.where(ref == 1, 7, ref).astype(np.uint8), AFFINE), paths[1])
        remapping = Remapping.of({7: 1, 2: 2, 3: 3, 4: 4}, rest=0)
        cases.append(SearchCase(f"c{number}", *paths, number % n_folds, remapping, frozenset(NAMES)))
    return cases


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return search_rules(_cases(tmp_path_factory.mktemp("cases")), NAMES, HOW)


def _dice(pred: np.ndarray, ref: np.ndarray, value: int) -> float:
    p, r = pred == value, ref == value
    return float(2 * (p & r).sum() / (p.sum() + r.sum())) if p.any() or r.any() else 1.0


def test_what_helps_is_kept_and_what_is_luck_is_not(trials: list[Trial]) -> None:
    rules = kept_rules(trials)
    assert set(rules) == {1, 3}
    assert rules[1] == LabelRule("organ", dusting_threshold_mm3=20.0), "islands have 5 to 15 mm³"
    assert rules[3] == LabelRule("vessel", fill_holes=True)
    lesions = [t for t in trials if t.label == 2 and not t.rule.fill_holes]
    assert {t.why for t in lesions} == {"hurts"}
    assert all(t.gain < 0 and t.harmed for t in lesions)
    (rare,) = [t for t in trials if t.label == 4 and t.why.startswith("not kept")]
    assert (rare.n, rare.helped, rare.gain) == (3, 1, pytest.approx(1 / 3))
    assert rare.why == "not kept: 3 cases, fewer than 6"


def test_every_trial_is_what_the_rule_does_to_the_voxels(trials: list[Trial]) -> None:
    rules = kept_rules(trials)
    assert len({(t.label, t.rule) for t in trials}) == len(trials) > 12
    for trial in trials:
        dice = []
        for pred, ref in map(_maps, range(N)):
            if not ((pred == trial.label).any() or (ref == trial.label).any()):
                continue
            before = pred.copy()
            if trial.rule.fill_holes and trial.label in rules:
                removal = LabelRule(dusting_threshold_mm3=rules[trial.label].dusting_threshold_mm3)
                apply_rules(before, {trial.label: removal}, 5.0)
            after = pred.copy()
            apply_rules(after, {trial.label: trial.rule}, 5.0)
            dice.append((_dice(before, ref, trial.label), _dice(after, ref, trial.label)))
        gains = np.diff(dice)[:, 0]
        assert (trial.before, trial.after) == pytest.approx(tuple(np.mean(dice, axis=0)))
        assert (trial.n, trial.helped, trial.harmed) == (len(dice), (gains > 0).sum(), (gains < 0).sum())


def test_the_pick_is_judged_on_cases_it_has_not_seen(tmp_path: Path) -> None:
    # in each fold another threshold is best and the next larger one ruins: a pick of the others' never helps
    cases = []
    for number in range(12):
        fold = number % 2
        ref = np.zeros((16, 12, 9), np.uint8)
        ref[1:4, 1:4, 1:4] = 1
        pred = ref.copy()
        size = 3 if fold else 9
        pred[8, 1 : 1 + size, 1 + number % 5] = 1  # false in one fold, true in the other
        if fold:
            ref[8, 1 : 1 + size, 1 + number % 5] = 1
        for name, lm in (("pred", pred), ("ref", ref)):
            nibabel.save(nibabel.Nifti1Image(lm, np.eye(4)), tmp_path / f"{name}_{number}.nii.gz")
        files = tmp_path / f"pred_{number}.nii.gz", tmp_path / f"ref_{number}.nii.gz"
        cases.append(SearchCase(str(number), *files, fold, Remapping(), frozenset({1})))
    trials = search_rules(cases, {1: "organ"}, HOW)
    (best,) = [t for t in trials if t.held_out == t.held_out]
    assert best.gain > 0
    assert best.held_out <= 0
    assert best.why == "hurts: the held-out gain is below 0"
    assert kept_rules(trials) == {}


def test_one_fold_is_judged_in_parts(tmp_path: Path) -> None:
    rules = kept_rules(search_rules(_cases(tmp_path, n_folds=1), NAMES, HOW, num_processes=1))
    assert rules[1] == LabelRule("organ", dusting_threshold_mm3=20.0)


def test_labels_that_were_not_drawn_are_not_judged(tmp_path: Path) -> None:
    cases = [SearchCase(**{**vars(case), "labels": frozenset({3})}) for case in _cases(tmp_path, 6)]
    trials = search_rules(cases, NAMES, HOW)
    assert {t.label for t in trials if t.n} == {3}


def test_maps_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    cases = _cases(tmp_path, 3)
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 7), np.uint8), AFFINE), tmp_path / "ref_1.nii.gz")
    with pytest.raises(CasesFailed, match=r"1 of 3 cases[\s\S]*one shape, found \(24, 14, 11\) and \(5, 6, 7\)"):
        search_rules(cases, NAMES, HOW)


def test_files_and_table(trials: list[Trial], tmp_path: Path) -> None:
    table, rules = write_trials(trials, kept_rules(trials), tmp_path)
    assert read_rules(rules, NAMES) == kept_rules(trials)
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(trials)
    assert {row["kept"] for row in rows} == {"True", "False"}
    columns, shown = rows_of(trials)
    assert all(len(row) == len(columns) for row in shown)
    assert sorted(row[0] for row in shown) == sorted(["organ", "lesion", "vessel", "rare"] * 2)
    assert [row[-1] for row in shown].count("kept") == 2 and {row[-1] for row in shown[:2]} == {"kept"}
    assert (shown[2][0], shown[2][-1]) == ("rare", "not kept: 3 cases, fewer than 6"), "by the held-out gain"
    assert [row[-1] for row in shown[-2:]] == ["hurts", "hurts"], "a removal of lesions, and one of vessels"
    kept = next(row for row in shown if row[0] == "organ")
    assert kept[1] == "dusting_threshold_mm3 20"
    assert kept[-1] == "kept"
