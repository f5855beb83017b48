"""The way of labels from raw files to channels, resolved without any file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.errors import SettingsFailed
from fran.labels import LabelFlow, LabelRules, Remapping, SourceLabels, parse_classes, resolve_labels
from fran.labels.remapping import IDENTITY

KITS = SourceLabels("kits", frozenset({1, 2, 3}), {1: "kidney", 2: "tumour", 3: "cyst"})
LITS = SourceLabels("lits", frozenset({1, 2}), {1: "liver", 2: "lesion"})
TS = SourceLabels("ts", frozenset({2, 3, 5}), {2: "kidney_right", 3: "kidney_left", 5: "liver"})
APART = (("kits",), ("lits",), ("ts",))

VALUES = st.frozensets(st.integers(1, 30), max_size=6)
REMAPPINGS = st.none() | st.builds(
    Remapping.of, st.dictionaries(st.integers(1, 30), st.integers(0, 30), max_size=5), st.sampled_from(["keep", 0])
)
BY_DS = st.fixed_dictionaries({"a": REMAPPINGS, "b": REMAPPINGS, "c": REMAPPINGS})


def refused(sources: Sequence[SourceLabels], rules: LabelRules) -> dict[str, str]:
    with pytest.raises(SettingsFailed) as caught:
        resolve_labels(sources, rules)
    return {p.key: p.expected for p in caught.value.problems}


def applied(flow: LabelFlow, ds: str, lm: np.ndarray) -> np.ndarray:
    """What preprocessing and the loader make of raw label maps."""
    for level in ("source", "lbd", "whole"):
        lm = flow.baked[ds].get(level, IDENTITY).apply(lm)
    table = np.full(65536, 65535, np.uint16)
    for old, new in {0: 0, **flow.on_the_fly[ds]}.items():
        table[old] = new
    return table[lm]


@given(VALUES, VALUES, VALUES, BY_DS, BY_DS, BY_DS, st.sampled_from([None, [["a"], ["b", "c"]], [["c"], ["b"], ["a"]]]))
def test_voxels_end_where_the_flow_says(
    a: frozenset[int], b: frozenset[int], c: frozenset[int], source: Any, lbd: Any, train: Any, groups: Any
) -> None:
    sources = [SourceLabels(name, values) for name, values in zip("abc", (a, b, c), strict=True)]
    rules = LabelRules(groups, ("lbd",), {"source": source, "lbd": lbd, "train": train})
    flow = resolve_labels(sources, rules)
    for ds in sources:
        raw = np.array([0, *sorted(ds.values)], np.uint8)
        result = applied(flow, ds.name, raw).tolist()
        rows = {row.raw: row for row in flow.describe() if row.datasource == ds.name}
        assert result == [0, *(rows[v].output for v in sorted(ds.values))]
        assert set(result) <= {0, *flow.scheme.values}
        channels = flow.scheme.to_channels(np.array(result)).tolist()
        assert channels == [0, *(rows[v].channel for v in sorted(ds.values))]
        drawn = {v for v in result if v}
        assert set(flow.unannotated[ds.name]) == set(flow.scheme.values) - drawn
    for value in flow.scheme.values:
        assert flow.origin(value) == [(r.datasource, r.raw, r.raw_name) for r in flow.describe() if r.output == value]
        assert flow.origin(value)


def test_one_group_keeps_the_values_of_the_files() -> None:
    flow = resolve_labels([SourceLabels("ts", frozenset({3, 117}), {3: "kidney", 117: "cartilage"})], LabelRules())
    assert flow.scheme.values == (3, 117)
    assert flow.scheme.channel_names == ["background", "kidney", "cartilage"]
    assert flow.baked == {"ts": {}}
    assert flow.on_the_fly == {"ts": {3: 3, 117: 117}}


def test_several_groups_are_numbered_on_and_names_stay_different() -> None:
    flow = resolve_labels([KITS, LITS, TS], LabelRules(APART))
    assert list(flow.scheme.names.items()) == [
        *((1, "kidney"), (2, "tumour"), (3, "cyst"), (4, "lits_liver"), (5, "lesion")),
        *((6, "kidney_right"), (7, "kidney_left"), (8, "ts_liver")),
    ]
    assert flow.baked["ts"]["source"] == Remapping.of({2: 6, 3: 7, 5: 8})
    assert flow.unannotated["lits"] == (1, 2, 3, 6, 7, 8)
    assert flow.origin(8) == [("ts", 5, "liver")]


def test_a_plan_of_one_datasource_has_that_ones_values() -> None:
    assert resolve_labels([TS], LabelRules(APART)).scheme.values == (2, 3, 5)


def test_declared_labels_without_a_voxel_hold_their_number() -> None:
    """A case with a cyst that is added later changes no other number."""
    before = SourceLabels("kits", frozenset({1}), KITS.names)
    numbers = [resolve_labels([kits, LITS], LabelRules(APART[:2])).baked["lits"] for kits in (before, KITS)]
    assert numbers[0] == numbers[1]
    assert resolve_labels([before, LITS], LabelRules(APART[:2])).scheme.values == (1, 4, 5)


def test_labels_of_test_cases_are_numbered_and_are_no_class() -> None:
    flow = resolve_labels(
        [SourceLabels("a", frozenset({1}), elsewhere=frozenset({4})), SourceLabels("b", frozenset({1}))],
        LabelRules((("a",), ("b",))),
    )
    assert flow.baked["a"]["source"] == Remapping.of({1: 1, 4: 2})
    assert flow.scheme.values == (1, 3)
    assert flow.on_the_fly["a"] == {1: 1, 2: 0}


def test_classes_by_name_over_all_groups() -> None:
    classes = parse_classes({"liver": "liver", "kidney": ["kidney", "kidney_left", "kidney_right", "tumour"]})
    flow = resolve_labels([KITS, LITS, TS], LabelRules(APART, classes=classes))
    assert list(flow.scheme.names.items()) == [(1, "kidney"), (4, "liver")]
    assert flow.on_the_fly == {"kits": {1: 1, 2: 1, 3: 0}, "lits": {4: 4, 5: 0}, "ts": {6: 1, 7: 1, 8: 4}}
    assert flow.unannotated == {"kits": (4,), "lits": (1,), "ts": ()}
    assert flow.origin(4) == [("lits", 1, "liver"), ("ts", 5, "liver")]


def test_one_of_several_labels_with_one_name_may_be_asked_for() -> None:
    flow = resolve_labels([KITS, LITS, TS], LabelRules(APART, classes=parse_classes(["ts_liver"])))
    assert flow.origin(8) == [("ts", 5, "liver")]
    assert flow.scheme.names == {8: "ts_liver"}


def test_names_follow_remappings() -> None:
    def names(pairs: dict[int, int], **more: Any) -> dict[int, str]:
        rules = LabelRules(remappings={"source": {"kits": Remapping.of(pairs, **more)}})
        return dict(resolve_labels([KITS], rules).scheme.names)

    assert names({1: 7}) == {2: "tumour", 3: "cyst", 7: "kidney"}
    assert names({1: 1, 2: 1}) == {1: "kidney", 3: "cyst"}, "the destination has a name of its own"
    assert names({2: 9, 3: 9}) == {1: "kidney", 9: "tumour+cyst"}
    assert names({1: 2, 2: 1}) == {1: "tumour", 2: "kidney", 3: "cyst"}
    assert names({1: 5}, rest=0) == {5: "kidney"}
    assert names({2: 2}, rest=0, names={2: "what the table says"}) == {2: "what the table says"}


def test_every_level_is_baked_where_it_belongs() -> None:
    levels = {"source": {3: 2}, "lbd": {2: 1}, "train": {1: 4}}
    rules = LabelRules(
        baked=("lbd",), remappings={level: {"kits": Remapping.of(pairs)} for level, pairs in levels.items()}
    )
    flow = resolve_labels([KITS], rules)
    assert flow.baked["kits"] == {"source": Remapping.of({3: 2}), "lbd": Remapping.of({2: 1})}
    assert flow.stored.names == {1: "kidney"}
    assert flow.on_the_fly["kits"] == {1: 4}
    assert flow.scheme.names == {4: "kidney"}
    assert flow.origin(4) == [("kits", 1, "kidney"), ("kits", 2, "tumour"), ("kits", 3, "cyst")]


def test_merged_imported_labels_become_classes_of_the_datasource() -> None:
    imported = Remapping.of({5: 20, 7: 21}, 0, {20: "liver", 21: "pancreas"})
    rules = LabelRules(
        baked=("lbd",), remappings={"imported": {"kits": imported}}, importing=("kits",), merge_imported=True
    )
    flow = resolve_labels([KITS], rules)
    assert flow.scheme.names == {1: "kidney", 2: "tumour", 3: "cyst", 20: "liver", 21: "pancreas"}
    assert flow.baked["kits"] == {"imported": imported}
    assert flow.unannotated == {"kits": ()}
    assert [row.imported for row in flow.describe()] == [False, False, False, True, True]
    clash = LabelRules(**{**vars(rules), "remappings": {"imported": {"kits": Remapping.of({5: 2}, 0, {2: "liver"})}}})
    assert "2 to be 'tumour' and 'liver'" in refused([KITS], clash)["remapping_imported"]
    unknown = LabelRules(**{**vars(rules), "remappings": {}})
    assert "imported maps of 'kits'" in refused([KITS], unknown)["imported_labels"]
    some = LabelRules(**{**vars(unknown), "imported_labels": frozenset({40})})
    assert resolve_labels([KITS], some).scheme.values == (1, 2, 3, 40)


def test_what_nobody_drew_is_left_out_of_a_datasources_cases() -> None:
    partly = SourceLabels("kits", frozenset({1, 2}), KITS.names, annotated=frozenset({1, 2}))
    other = SourceLabels("more", frozenset({3}), {3: "cyst"})
    flow = resolve_labels([partly, other], LabelRules())
    assert flow.unannotated == {"kits": (3,), "more": (1, 2)}


def test_dropping_a_datasources_label_does_not_teach_it_as_background() -> None:
    both = [KITS, SourceLabels("kits2", frozenset({1, 2}), {1: "kidney", 2: "tumour"})]
    flow = resolve_labels(both, LabelRules(remappings={"source": {"kits2": Remapping.of({2: 0})}}))
    assert flow.unannotated["kits2"] == (2, 3)


def test_conflicts_of_a_group_are_all_told_with_a_way_out() -> None:
    told = refused([KITS, LITS], LabelRules())["lm_groups"]
    assert "found 2 to be 'tumour' in kits and 'lesion' in lits" in told
    same_name = SourceLabels("lits", frozenset({4}), {4: "kidney"})
    told = refused([KITS, same_name], LabelRules())["lm_groups"]
    assert "found 'kidney' to be 1 in kits and 4 in lits" in told
    assert "remapping_source={lits: {4: 1}}" in told
    mended = LabelRules(remappings={"source": {"lits": Remapping.of({4: 1})}})
    assert resolve_labels([KITS, same_name], mended).scheme.values == (1, 2, 3)


def test_classes_that_cannot_be_are_all_told() -> None:
    classes = parse_classes({"kidny": "kidny", "lump": ["tumour"], "mass": ["tumour", "cyst"]})
    with pytest.raises(SettingsFailed) as caught:
        resolve_labels([KITS], LabelRules(classes=classes))
    told = str(caught.value)
    assert "did you mean 'kidney'" in told
    assert "found label 2 in lump and mass" in told


def test_a_class_that_nobody_annotates_is_refused() -> None:
    partly = SourceLabels("kits", frozenset({1}), KITS.names, annotated=frozenset({1}))
    told = refused([partly], LabelRules(classes=parse_classes(["kidney", "cyst"])))
    assert "kits know it by name" in told["classes"]


def test_labels_that_are_not_said_to_be_annotated_are_refused() -> None:
    wrong = SourceLabels("kits", frozenset({1, 2}), KITS.names, annotated=frozenset({1}))
    assert "they hold 2 (tumour) too" in refused([wrong, LITS], LabelRules(APART))["datasource.kits.annotated"]


def test_groups_that_leave_a_datasource_out_are_refused() -> None:
    assert "found none for lits" in refused([KITS, LITS], LabelRules((("kits",),)))["lm_groups"]


def test_what_is_worth_knowing_is_no_error() -> None:
    empty = SourceLabels("kits", frozenset({1}), KITS.names)
    rules = LabelRules(remappings={"source": {"kits": Remapping.of({9: 1})}}, classes=parse_classes(["kidney", "cyst"]))
    notes = resolve_labels([empty], rules).notes
    assert notes == (
        "remapping_source: lists label 9, which kits do not have",
        "classes: no case has a voxel of 'cyst'",
    )


def test_the_digest_is_of_what_labels_become() -> None:
    plain = resolve_labels([KITS], LabelRules())
    same = resolve_labels([KITS], LabelRules(remappings={"source": {"kits": Remapping.of({1: 1})}}))
    assert plain.digest() == same.digest()
    other = [
        LabelRules(remappings={"source": {"kits": Remapping.of({1: 2})}}),
        LabelRules(remappings={"train": {"kits": Remapping.of({1: 2})}}),
        LabelRules(classes=parse_classes(["kidney"])),
    ]
    assert len({plain.digest(), *(resolve_labels([KITS], rules).digest() for rules in other)}) == 4


@pytest.mark.parametrize("value", [[1, 2], {}, [], {"a": [1]}, ["a", "a"], {"a": []}, 3, {"a": None}, [""]])
def test_classes_are_names(value: Any) -> None:
    with pytest.raises(SettingsFailed, match="names of labels, each once"):
        parse_classes(value)
