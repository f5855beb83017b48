"""Pooling folds, against NumPy and SciPy."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from fran.errors import DataError
from fran.evaluation.cross_validation import OVERALL, CvSummary, FoldScores, summarise_folds
from fran.evaluation.cv_report import metrics_of, table_of, write_summary
from fran.evaluation.intervals import bootstrap_means
from fran.io.case_table import CaseScore

LABELS = ("kidney", "tumour")


def _folds(n_folds: int = 3, per_fold: int = 7, nsd: bool = False, seed: int = 0) -> list[FoldScores]:
    generator = np.random.default_rng(seed)
    folds = []
    for fold in range(n_folds):
        scores = []
        for case in range(per_fold + fold):
            for label in LABELS:
                absent = label == "tumour" and case == 0
                dice = math.nan if absent else float(generator.beta(5, 2))
                scores.append(CaseScore(f"c{fold}_{case}", label, dice, dice / 2 if nsd else math.nan, 10.0, 12.0))
        folds.append(FoldScores(fold, f"plan1-dynunet-f{fold}-1", tuple(scores)))
    return folds


def _result(summary: CvSummary, label: str, metric: str = "dice"):  # type: ignore[no-untyped-def]
    return next(r for r in summary.results if (r.label, r.metric) == (label, metric))


def test_cases_count_alike_whatever_their_fold_and_undefined_ones_not_at_all() -> None:
    folds = _folds(nsd=True)
    summary = summarise_folds(folds)
    for label in LABELS:
        values = [s.dice for f in folds for s in f.scores if s.label == label and not math.isnan(s.dice)]
        result = _result(summary, label)
        assert result.n == len(values)
        assert result.mean == pytest.approx(np.mean(values))
        assert _result(summary, label, "nsd").mean == pytest.approx(np.mean(values) / 2)
        for fold, mean in zip(folds, result.per_fold, strict=True):
            of_fold = [s.dice for s in fold.scores if s.label == label and not math.isnan(s.dice)]
            assert mean == pytest.approx(np.mean(of_fold))
        assert result.fold_sd == pytest.approx(np.std(result.per_fold, ddof=1))
    both = [_result(summary, label).mean for label in LABELS]
    assert _result(summary, OVERALL).mean == pytest.approx(np.mean(both))
    assert summary.n_cases == 7 + 8 + 9
    assert summary.worst(1)[0][1].dice == min(s.dice for f in folds for s in f.scores if not math.isnan(s.dice))


def test_intervals_agree_with_scipy() -> None:
    values = np.random.default_rng(3).beta(5, 2, 40)
    low, high = bootstrap_means(values[:, None], 20_000, 0.9, seed=1)
    theirs = bootstrap((values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=2)
    np.testing.assert_allclose([low[0], high[0]], theirs.confidence_interval, atol=2e-3)
    assert (low[0], high[0]) == (low[1], high[1])  # of one label, the mean over labels is the same


def test_an_interval_draws_whole_cases() -> None:
    values = np.random.default_rng(3).beta(5, 2, 40)
    opposite = np.stack([values, 1 - values], axis=1)
    low, high = bootstrap_means(opposite, 500)
    assert low[2] == pytest.approx(0.5)
    assert high[2] == pytest.approx(0.5)


def test_a_label_without_scores_has_no_interval() -> None:
    scores = np.array([[0.5, np.nan], [0.75, np.nan]])
    low, high = bootstrap_means(scores, 200)
    assert np.isnan([low[1], high[1]]).all()
    assert 0.5 <= low[2] <= high[2] <= 0.75


def test_a_collapsed_fold_is_named_and_not_averaged_silently() -> None:
    folds = _folds()
    failed = tuple(CaseScore(s.case, s.label, 0.0 if s.label == "tumour" else s.dice) for s in folds[1].scores)
    summary = summarise_folds([folds[0], FoldScores(1, "plan1-dynunet-f1-2", failed), folds[2]])
    (line,) = summary.collapsed
    assert line.startswith("fold 1 (plan1-dynunet-f1-2): tumour has Dice 0.000, the other folds 0.")
    assert summarise_folds(folds).collapsed == ()


def test_a_case_in_two_folds_is_refused_and_so_is_nothing() -> None:
    folds = _folds()
    twice = FoldScores(1, "other", (*folds[1].scores, folds[0].scores[0]))
    with pytest.raises(DataError, match=r"case c0_0: .*plan1-dynunet-f0-1 \(fold 0\) and other \(fold 1\)"):
        summarise_folds([folds[0], twice])
    with pytest.raises(DataError, match="validated cases, found none"):
        summarise_folds([FoldScores(0, "r", ())])


def test_files_and_names(tmp_path: Path) -> None:
    folds = _folds(n_folds=2)
    summary = summarise_folds(folds, seed=5)
    write_summary(summary, tmp_path, {"group": "plan1-dynunet-cv-1"})
    with (tmp_path / "summary.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == [*LABELS, OVERALL]
    assert float(rows[1]["mean"]) == pytest.approx(_result(summary, "tumour").mean, abs=1e-5)
    assert float(rows[1]["f1"]) == pytest.approx(_result(summary, "tumour").per_fold[1], abs=1e-5)
    with (tmp_path / "cases.csv").open() as stream:
        cases = list(csv.DictReader(stream))
    assert len(cases) == 2 * (7 + 8)
    assert cases[1]["dice"] == ""
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["group"] == "plan1-dynunet-cv-1"
    assert content["folds"][1] == {"fold": 1, "run": "plan1-dynunet-f1-1", "n_cases": 8}
    metrics = metrics_of(summary)
    assert metrics["cv/dice"] == _result(summary, OVERALL).mean
    assert metrics["cv/dice_tumour_low"] < metrics["cv/dice_tumour"] < metrics["cv/dice_tumour_high"]
    assert metrics["cv/dice_f1"] == _result(summary, OVERALL).per_fold[1]
    header, table = table_of(summary)
    assert all(len(row) == len(header) for row in table)
