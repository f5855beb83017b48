from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.errors import ConfigError
from fran.labels import group_labels, group_names

LABELS = st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 300), max_size=6), min_size=1)


def test_two_groups_are_numbered_on() -> None:
    groups = group_labels([["a"], ["b"]], {"a": {1, 2}, "b": {1, 3}})
    assert groups.mapping == {"a": {1: 1, 2: 2}, "b": {1: 3, 3: 4}}
    assert groups.origin == {1: (0, 1), 2: (0, 2), 3: (1, 1), 4: (1, 3)}


def test_one_group_is_the_union() -> None:
    for chosen in (None, [["a", "b"]]):
        assert group_labels(chosen, {"a": {1, 2}, "b": {1, 3}}).mapping == {"a": {1: 1, 2: 2}, "b": {1: 1, 3: 3}}


def test_one_group_keeps_its_values_and_several_close_gaps() -> None:
    assert group_labels(None, {"a": {3, 117, 0}}).mapping == {"a": {3: 3, 117: 117}}
    both = group_labels([["a"], ["b"]], {"a": {3, 117, 0}, "b": {9}}).mapping
    assert both == {"a": {3: 1, 117: 2}, "b": {9: 3}}


@given(LABELS, st.data())
def test_numbers_are_consecutive_and_ordered(labels: dict[str, set[int]], data: st.DataObject) -> None:
    names = data.draw(st.permutations(sorted(labels)))
    cut = data.draw(st.integers(0, len(names)))
    groups = [g for g in (names[:cut], names[cut:]) if g]
    result = group_labels(groups, labels)
    if len(groups) > 1:
        assert sorted(result.origin) == list(range(1, len(result.origin) + 1))
    assert list(result.origin.values()) == sorted(result.origin.values())
    for index, group in enumerate(groups):
        for ds in group:
            assert set(result.mapping[ds]) == labels[ds] - {0}
            for old, new in result.mapping[ds].items():
                assert result.origin[new] == (index, old)


@given(LABELS, st.data())
def test_order_inside_a_group_does_not_matter_and_groups_are_disjoint(
    labels: dict[str, set[int]], data: st.DataObject
) -> None:
    names = sorted(labels)
    groups = [names[::2], names[1::2]] if len(names) > 1 else [names]
    result = group_labels(groups, labels)
    shuffled = [data.draw(st.permutations(group)) for group in groups]
    assert group_labels(shuffled, labels).mapping == result.mapping
    used = [{new for ds in group for new in result.mapping[ds].values()} for group in groups]
    assert not used[0] & used[-1] or len(groups) == 1
    assert set().union(*used) == set(result.origin)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["a"]], "found none for b"),
        ([["a", "b"], ["a"]], "found 'a' 2 times"),
        ([["a", "b", "c"]], "unknown datasource 'c'"),
    ],
)
def test_groups_hold_each_datasource_once(groups: list[list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        group_labels(groups, {"a": {1}, "b": {1}})


def test_names_stay_different() -> None:
    groups = group_labels([["a"], ["b"]], {"a": {1, 2}, "b": {1}})
    names = group_names(groups, {"a": {1: "lesion", 2: "organ"}, "b": {1: "lesion"}})
    assert names == {1: "a_lesion", 2: "organ", 3: "b_lesion"}
    assert group_names(groups, {}) == {1: "label_1", 2: "label_2", 3: "label_3"}
