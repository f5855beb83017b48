from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fran.errors import ConfigError
from fran.projects.folds import FoldCase, Split, assign_folds, make_split


def singles(n: int, datasource: str = "a", labels: frozenset[int] = frozenset({1})) -> list[FoldCase]:
    return [FoldCase(f"{datasource}_{k:03d}", f"{datasource}_{k:03d}", datasource, labels) for k in range(n)]


@st.composite
def case_lists(draw: st.DrawFn) -> list[FoldCase]:
    n = draw(st.integers(1, 40))
    return [
        FoldCase(
            case_id=f"c_{k:03d}",
            patient=f"p{draw(st.integers(0, 25))}",
            datasource=draw(st.sampled_from("abc")),
            labels=draw(st.frozensets(st.integers(1, 4), max_size=3)),
            content=draw(st.sampled_from(["", "", "", "x", "y"])),
            test=draw(st.booleans()) if k % 4 == 0 else False,
        )
        for k in range(n)
    ]


@settings(max_examples=80, deadline=None)
@given(case_lists(), st.integers(2, 6), st.integers(0, 5), st.randoms())
def test_invariants(cases: list[FoldCase], n_folds: int, seed: int, random: object) -> None:
    folds = assign_folds(cases, {}, n_folds, seed)
    candidates = [c for c in cases if not c.test]
    assert set(folds) == {c.case_id for c in candidates}
    assert set(folds.values()) <= set(range(n_folds))
    shuffled = list(cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign_folds(shuffled, {}, n_folds, seed) == folds
    for key in ("patient", "content"):
        together = defaultdict(set)
        for case in candidates:
            if getattr(case, key):
                together[getattr(case, key)].add(folds[case.case_id])
        assert all(len(found) == 1 for found in together.values())


@settings(max_examples=60, deadline=None)
@given(case_lists(), st.integers(2, 5), st.integers(0, 40))
def test_existing_folds_stay(cases: list[FoldCase], n_folds: int, cut: int) -> None:
    first = assign_folds(cases[:cut], {}, n_folds)
    later = assign_folds(cases, first, n_folds)
    assert {c: later[c] for c in first} == first


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 43), st.integers(1, 19), st.integers(2, 6), st.integers(0, 9))
def test_single_cases_are_balanced_and_stratified(n_a: int, n_b: int, n_folds: int, seed: int) -> None:
    cases = singles(n_a) + singles(n_b, "b", frozenset())
    folds = assign_folds(cases, {}, n_folds, seed)
    sizes = [list(folds.values()).count(f) for f in range(n_folds)]
    assert max(sizes) - min(sizes) <= 1
    for name in "ab":
        counts = [sum(folds[c.case_id] == f for c in cases if c.datasource == name) for f in range(n_folds)]
        assert max(counts) - min(counts) <= 2


def test_rare_label_is_spread() -> None:
    cases = singles(20) + [FoldCase(f"a_r{k}", f"a_r{k}", "a", frozenset({1, 9})) for k in range(5)]
    folds = assign_folds(cases, {}, 5)
    assert sorted(folds[f"a_r{k}"] for k in range(5)) == [0, 1, 2, 3, 4]


def test_groups_differ_by_at_most_the_largest() -> None:
    cases = [FoldCase(f"c_{p}_{k}", f"p{p}", "a") for p in range(13) for k in range(1 + p % 4)]
    sizes = Counter(assign_folds(cases, {}, 5).values())
    assert max(sizes.values()) - min(sizes.values()) <= 4


def test_seed_matters_and_one_case_is_fold_0() -> None:
    cases = singles(25)
    assert assign_folds(cases, {}, 5, 0) != assign_folds(cases, {}, 5, 1)
    assert assign_folds(singles(1), {}, 5, 3) == {"a_000": 0}


def test_new_case_joins_its_patient() -> None:
    cases = [*singles(10), FoldCase("a_late", "a_004", "a")]
    first = assign_folds(cases[:10], {}, 5)
    assert assign_folds(cases, first, 5)["a_late"] == first["a_004"]


def test_too_few_folds() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        assign_folds(singles(3), {}, 1)


def test_split() -> None:
    folds = {"c": 0, "a": 1, "b": 1}
    assert make_split(folds, 1) == Split(("c",), ("a", "b"))
    assert make_split(folds, "all") == Split(("a", "b", "c"), ("a", "b", "c"), self_validated=True)
    with pytest.raises(ConfigError, match="expected one of 0, 1 or all, found 4"):
        make_split(folds, 4)


def test_single_case_validates_itself() -> None:
    assert make_split({"a": 0}, 0) == Split(("a",), ("a",), self_validated=True)
