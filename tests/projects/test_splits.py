"""From folds to splits: what is on which side, and that nothing is on both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fran.errors import ConfigError
from fran.projects.folds import FoldCase
from fran.projects.splits import Assignment, Split, make_split

KITS = [FoldCase(f"kits_{k}", f"kits_{k}", "kits") for k in range(3)]
LITS = [FoldCase(f"lits_{k}", f"lits_{k}", "lits") for k in range(2)]
FOLDS = Assignment({"kits_0": 0, "kits_1": 1, "kits_2": 1, "lits_0": 0, "lits_1": 1}, 2)


def sides(split: Split) -> tuple[str, str]:
    return " ".join(split.train), " ".join(split.val)


def test_number_of_a_fold() -> None:
    split = make_split(KITS + LITS, FOLDS, 0)
    assert sides(split) == ("kits_1 kits_2 lits_1", "kits_0 lits_0")
    assert (split.self_validated, split.left_out) == (False, ())


def test_all_validates_itself() -> None:
    split = make_split(KITS, FOLDS, "all")
    assert split.train == split.val == ("kits_0", "kits_1", "kits_2")
    assert split.self_validated


def test_name_of_a_datasource_leaves_it_out() -> None:
    assert sides(make_split(KITS + LITS, Assignment({}), "lits")) == ("kits_0 kits_1 kits_2", "lits_0 lits_1")


def test_kin_in_another_datasource_leaves_the_training_side() -> None:
    twin = replace(KITS[1], patient="lits_0")
    split = make_split([KITS[0], twin, KITS[2], *LITS], Assignment({}), "lits")
    assert (sides(split), split.left_out) == (("kits_0 kits_2", "lits_0 lits_1"), ("kits_1",))


def test_kin_of_a_test_case_is_on_neither_side() -> None:
    test = FoldCase("tests_0", "tests_0", "tests", content="x", test=True)
    split = make_split([replace(KITS[0], content="x"), *KITS[1:], test], FOLDS, 1)
    assert (split.left_out, split.val) == (("kits_0",), ("kits_1", "kits_2"))


def test_case_that_ties_two_folds_together_leaks_nothing() -> None:
    cases = [replace(KITS[0], patient="p"), replace(KITS[1], content="x"), replace(KITS[2], patient="p", content="x")]
    split = make_split(cases, FOLDS, 1)
    assert (split.val, split.left_out) == (("kits_1", "kits_2"), ("kits_0",))


@pytest.mark.parametrize(
    ("fold", "words"), [(4, "no case for 4; .*choices: 0, 1, all, kits, lits"), ("kit", "did you mean 'kits'")]
)
def test_no_such_fold(fold: int | str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_split(KITS + LITS, FOLDS, fold)


def test_only_datasource_cannot_be_left_out() -> None:
    with pytest.raises(ConfigError, match="expected another datasource to train on beside 'kits'"):
        make_split(KITS, FOLDS, "kits")


def test_single_case_validates_itself() -> None:
    split = make_split(KITS[:1], FOLDS, 0)
    assert (split.train, split.val, split.self_validated) == (("kits_0",), ("kits_0",), True)


def test_digest_is_that_of_the_assignment() -> None:
    of = {fold: make_split(KITS + LITS, FOLDS, fold).digest for fold in (0, 1, "all", "kits", "lits")}
    assert of[0] == of[1]
    assert of["kits"] == of["lits"]
    assert len({of[0], of["all"], of["kits"]}) == 3
    others = [
        make_split(KITS, FOLDS, 0),
        make_split(KITS + LITS, replace(FOLDS, seed=1), 0),
        make_split(KITS + LITS, replace(FOLDS, n_folds=3), 0),
        make_split(KITS + LITS, replace(FOLDS, folds={**FOLDS.folds, "kits_2": 0}), 0),
    ]
    assert len({of[0], *(split.digest for split in others)}) == 5
    assert make_split([*reversed(KITS + LITS)], FOLDS, 0).digest == of[0]
    assert len(of[0]) == 32


@st.composite
def tied_cases(draw: st.DrawFn) -> list[FoldCase]:
    bond = st.sampled_from(["", "", "x", "y", "z"])
    return [
        FoldCase(
            case_id=f"c_{k:02d}",
            patient=f"p{draw(st.integers(0, 12))}",
            datasource=draw(st.sampled_from("abc")),
            content=draw(bond),
            test=draw(st.sampled_from([False, False, False, True])),
        )
        for k in range(draw(st.integers(1, 16)))
    ]


@settings(max_examples=150, deadline=None)
@given(tied_cases(), st.lists(st.integers(0, 2), min_size=16, max_size=16), st.sampled_from([0, 1, 2, "a", "b", "all"]))
def test_nothing_is_on_both_sides_whatever_was_assigned(
    cases: list[FoldCase], folds: list[int], fold: int | str
) -> None:
    assigned = {c.case_id: f for c, f in zip(cases, folds, strict=False)}
    try:
        split = make_split(cases, Assignment(assigned, 3), fold)
    except ConfigError:
        return
    by_id = {c.case_id: c for c in cases}
    test = {bond for c in cases if c.test for bond in c.bonds}
    train, val = ({bond for c in side for bond in by_id[c].bonds} for side in (split.train, split.val))
    assert not test & (train | val)
    if not split.self_validated:
        assert not train & val
        assert not set(split.train) & set(split.val)
    assert set(split.train) | set(split.val) | set(split.left_out) <= {c.case_id for c in cases if not c.test}
