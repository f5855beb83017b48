from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fran.errors import ConfigError
from fran.projects.folds import FoldCase, assign_folds


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


@st.composite
def single_cases(draw: st.DrawFn) -> list[FoldCase]:
    """Cases that nothing ties together, of up to three datasources and eight combinations of labels."""
    n = draw(st.integers(1, 60))
    labels = st.frozensets(st.integers(1, 3), max_size=3)
    return [FoldCase(f"c_{k:03d}", f"c_{k:03d}", draw(st.sampled_from("abc")), draw(labels)) for k in range(n)]


def spread(cases: list[FoldCase], folds: dict[str, int], n_folds: int) -> int:
    """Largest difference between two folds in the number of cases."""
    counts = Counter(folds[c.case_id] for c in cases)
    sizes = [counts[f] for f in range(n_folds)]
    return max(sizes) - min(sizes)


def by_stratum(cases: list[FoldCase]) -> list[list[FoldCase]]:
    strata = defaultdict(list)
    for case in cases:
        strata[case.stratum].append(case)
    return list(strata.values())


@settings(max_examples=100, deadline=None)
@given(single_cases(), st.integers(2, 6), st.integers(0, 9))
def test_single_cases_are_within_one_in_every_stratum(cases: list[FoldCase], n_folds: int, seed: int) -> None:
    folds = assign_folds(cases, {}, n_folds, seed)
    assert spread(cases, folds, n_folds) <= 1
    assert all(spread(stratum, folds, n_folds) <= 1 for stratum in by_stratum(cases))


@settings(max_examples=100, deadline=None)
@given(single_cases(), st.lists(st.integers(0, 60), max_size=4), st.integers(2, 6), st.randoms())
def test_additions_keep_old_folds_and_every_stratum_within_one(
    cases: list[FoldCase], cuts: list[int], n_folds: int, random: object
) -> None:
    random.shuffle(cases)  # type: ignore[attr-defined]
    folds: dict[str, int] = {}
    for cut in [*sorted(cuts), len(cases)]:
        before = folds
        folds = assign_folds(cases[:cut], before, n_folds)
        assert {c: folds[c] for c in before} == before
        assert all(spread(stratum, folds, n_folds) <= 1 for stratum in by_stratum(cases[:cut]))


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
