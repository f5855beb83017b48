"""Two predictions of the same cases: figures against scipy and by hand, and the words about them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from fran.errors import DataError, StoreError
from fran.evaluation.intervals import Bootstrap
from fran.evaluation.measures import Measures, Score, absent, as_score
from fran.evaluation.paired import compare, holm, sentence, signed_rank
from fran.evaluation.report import read_scores, write_paired
from fran.io.case_table import CaseScore, write_cases

HOW = Bootstrap(samples=500)
NAMES = {1: "kidney", 2: "tumour"}


def _score(case_id: str, label: int, dice: float, hd95_mm: float = 1.0, ref_vox: int = 50) -> Score:
    row = as_score(case_id, label, NAMES[label], absent(Measures()), 1.0, Measures().metrics)
    return replace(row, dice=dice, hd95_mm=hd95_mm, pred_vox=40, ref_vox=ref_vox)


def _table(kidney: list[float], tumour: list[float], hd95: list[float] | None = None) -> list[Score]:
    hd95 = hd95 or [1.0] * len(kidney)
    rows = []
    for i, (k, t, mm) in enumerate(zip(kidney, tumour, hd95, strict=True)):
        rows += [_score(f"c{i:02}", 1, k, mm), _score(f"c{i:02}", 2, t)]
    return rows


@pytest.fixture
def two() -> tuple[list[Score], list[Score]]:
    rng = np.random.default_rng(2)
    worse = rng.uniform(0.5, 0.8, (20, 2))
    better = worse + np.array([0.06, 0.0]) + rng.normal(0, 0.02, (20, 2))
    better[7, 1], worse[8, 1] = math.nan, math.nan
    return _table(*better.T.tolist()), _table(*worse.T.tolist())


def test_figures_agree_with_scipy(two) -> None:
    lines = {line.label: line for line in compare(*two, ["dice"], HOW)}
    assert list(lines) == ["kidney", "tumour", "all labels"]
    first, second = ([[s.dice for s in side if s.label == v] for v in (1, 2)] for side in two)
    p = []
    for i, name in enumerate(NAMES.values()):
        pairs = np.array([(a, b) for a, b in zip(first[i], second[i], strict=True) if not math.isnan(a + b)])
        line, differences = lines[name], pairs[:, 0] - pairs[:, 1]
        assert (line.n, line.left_out) == (len(pairs), 20 - len(pairs))
        assert line.mean - line.against == pytest.approx(line.difference) == pytest.approx(differences.mean())
        assert line.low < line.difference < line.high
        assert (line.wins, line.losses, line.ties) == ((differences > 0).sum(), (differences < 0).sum(), 0)
        p.append(float(wilcoxon(differences).pvalue))
        assert line.p == pytest.approx(p[-1])
    assert lines["tumour"].left_out == 2
    assert [lines[n].p_holm for n in NAMES.values()] == pytest.approx(holm(p))
    assert lines["all labels"].p_holm == lines["all labels"].p
    assert lines["all labels"].difference == pytest.approx(
        (lines["kidney"].difference + lines["tumour"].difference) / 2
    )


def test_what_it_means_in_words(two) -> None:
    kidney, tumour, _ = (sentence(line) for line in compare(*two, ["dice"], HOW))
    assert kidney.startswith("kidney: Dice +0.06")
    assert "Better: chance alone" in kidney
    assert "< 0.001" in kidney
    assert "No difference shown (p = " in tumour
    swapped, _, _ = (sentence(line) for line in compare(two[1], two[0], ["dice"], HOW))
    assert "kidney: Dice -0.06" in swapped
    assert "Worse:" in swapped


def test_few_cases_cannot_tell() -> None:
    a, b = _table([0.9] * 5, [0.8] * 5), _table([0.5, 0.6, 0.4, 0.3, 0.2], [0.8] * 5)
    kidney, tumour, _ = compare(a, b, ["dice"], HOW)
    assert kidney.p == 2 / 2**5
    assert "Only 5 cases differ: too few" in sentence(kidney)
    assert (tumour.p, tumour.ties, tumour.difference) == (1, 5, 0)
    assert "No difference shown" in sentence(tumour)


def test_less_is_better_of_a_distance_and_infinite_ones_are_left_out() -> None:
    a = _table([0.9] * 9, [0.8] * 9, [1, 2, 1, 2, 1, 2, 1, 2, math.inf])
    b = _table([0.9] * 9, [0.8] * 9, [3, 5, 4, 6, 7, 8, 9, 10, 4])
    line = compare(a, b, ["hd95_mm"], HOW)[0]
    assert (line.n, line.left_out, line.wins) == (8, 1, 8)
    assert line.difference == pytest.approx(12 / 8 - 52 / 8)
    assert "Better" in sentence(line)


def test_ranks_and_mean_may_disagree() -> None:
    gains = [0.01 + 0.001 * i for i in range(15)] + [-0.4]
    a, b = _table([0.5 + g for g in gains], [0.5] * 16), _table([0.5] * 16, [0.5] * 16)
    assert "look at the cases" in sentence(compare(a, b, ["dice"], HOW)[0])


def test_ties_and_rounding() -> None:
    assert signed_rank(np.zeros(4)) == 1
    assert math.isnan(signed_rank(np.empty(0)))
    noisy = np.array([0.1, 0.1 + 1e-16, -0.1, 0.2, 0.3, 0.25, 0.15, 1e-17])
    assert signed_rank(noisy) == signed_rank(np.round(noisy, 5))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    found = holm([0.02, math.nan, 0.03])
    assert found[::2] == pytest.approx([0.04, 0.04])
    assert math.isnan(found[1])


def test_labels_are_matched_by_name_then_by_value(two) -> None:
    first, second = two
    swapped = [replace(s, label=3 - s.label) for s in second]
    assert compare(first, swapped, ["dice"], HOW) == compare(first, second, ["dice"], HOW)
    unnamed = [replace(s, name=f"label_{s.label}") for s in second]
    assert compare(first, unnamed, ["dice"], HOW) == compare(first, second, ["dice"], HOW)


def test_cases_of_one_side_are_left_out(two) -> None:
    first, second = two
    line = compare(first, [s for s in second if s.case_id > "c03"], ["dice"], HOW)[0]
    assert line.n == 16


def test_what_one_side_did_not_measure_is_passed_over(two) -> None:
    second = [replace(s, hd95_mm=None) for s in two[1]]
    assert {line.column for line in compare(two[0], second, ["dice", "hd95_mm"], HOW)} == {"dice"}


def test_other_references_are_refused(two) -> None:
    other = [replace(s, ref_vox=51) if s.case_id == "c05" else s for s in two[1]]
    with pytest.raises(DataError, match="2 rows of others: kidney of c05 has 50 voxels in one and 51"):
        compare(two[0], other, ["dice"], HOW)
    with pytest.raises(DataError, match="same cases and labels"):
        compare(two[0], [replace(s, case_id=f"x{s.case_id}") for s in two[1]], ["dice"], HOW)


def test_validations_of_two_runs(two, tmp_path) -> None:
    """Their cases.csv has labels by name alone, and no voxels."""
    for name, side in zip(("a", "b"), two, strict=True):
        rows = [CaseScore(s.case_id, s.name, round(s.dice, 5), math.nan, 40, 50) for s in side]
        write_cases(tmp_path / name / "cases.csv", rows)
    sides = [read_scores(tmp_path / name / "cases.csv") for name in ("a", "b")]
    lines = compare(*sides, ["dice", "nsd", "hd95_mm"], HOW)
    assert [line.label for line in lines if line.column == "dice"] == ["kidney", "tumour", "all labels"]
    assert {line.column for line in lines if line.n} == {"dice"}
    assert lines[0].difference == pytest.approx(compare(*two, ["dice"], HOW)[0].difference, abs=1e-5)


@pytest.mark.parametrize(("text", "words"), [("a,b\n1,2\n", "none called case_id"), (None, "no file")])
def test_tables_that_are_none(tmp_path, text, words) -> None:
    if text is not None:
        (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(StoreError, match=words):
        read_scores(tmp_path / "scores.csv")


def test_files(two, tmp_path) -> None:
    lines = compare(*two, ["dice"], HOW)
    csv_path, json_path = write_paired(lines, HOW, tmp_path, "a", "b")
    assert csv_path.read_text().count("\n") == 4
    assert '"meaning": "kidney: Dice +' in json_path.read_text()
