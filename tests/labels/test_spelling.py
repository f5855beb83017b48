from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.errors import SettingsFailed
from fran.labels import LabelTable, Remapping, parse_remapping

SHIPPED = Path(__file__).parents[2] / "conf" / "labels" / "tsl.yaml"
BOTH = ["lits", "drli"]
PAIRS = st.dictionaries(st.integers(1, 500), st.integers(0, 500), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def table() -> LabelTable:
    return LabelTable.read(SHIPPED)


def spellings(pairs: dict[int, int]) -> list[Any]:
    olds, news = list(pairs), list(pairs.values())
    return [
        pairs,
        dict(reversed(pairs.items())),
        {str(old): str(new) for old, new in pairs.items()},
        [olds, news],
        (tuple(olds), tuple(news)),
        [[str(old) for old in olds], news],
        str(pairs),
        f"{olds},{news}",
        f"[{olds},{news}]",
        [pairs, [olds, news]],
        [str(pairs), f"{olds},{news}"],
        {"lits": pairs, "drli": [olds, news]},
        pairs | {600: 600, 0: 0},
        pairs | {"rest": "keep"},
    ]


@given(PAIRS)
def test_every_spelling_of_a_dict_is_one_remapping(pairs: dict[int, int]) -> None:
    meant = Remapping.of(pairs)
    expected = None if meant.is_identity else meant
    for value in spellings(pairs):
        assert parse_remapping(value, BOTH) == {"lits": expected, "drli": expected}, value


@pytest.mark.parametrize("value", [None, "null", "None", "", {}, [[], []], [None, None], "None,null", {1: 1}])
def test_nothing_is_said_in_many_ways(value: Any) -> None:
    assert parse_remapping(value, BOTH) == {"lits": None, "drli": None}


def test_each_datasource_may_have_its_own() -> None:
    expected = {"lits": Remapping.of({1: 2}), "drli": None}
    for value in ([{1: 2}, None], "{1: 2}, None", {"lits": {1: 2}, "drli": None}, {"lits": {1: 2}}, [[[1], [2]], None]):
        assert parse_remapping(value, BOTH) == expected


def test_two_lists_of_labels_are_a_pair_even_with_two_datasources() -> None:
    merged = Remapping.of({1: 0})
    assert parse_remapping([[1, 2], [0, 2]], BOTH) == {"lits": merged, "drli": merged}


def test_labels_not_listed_follow_the_rest() -> None:
    def one(value: Any, default: Any) -> Remapping | None:
        return parse_remapping(value, ["lits"], None, default)["lits"]

    assert one({1: 2}, 0) == Remapping.of({1: 2}, 0)
    assert one({1: 2, "rest": "keep"}, 0) == Remapping.of({1: 2})
    assert one({1: 2, "rest": 0}, "keep") == Remapping.of({1: 2}, 0)
    assert one({"rest": 1}, "keep") == Remapping((), 1)


def test_names_of_the_table_have_several_spellings(table: LabelTable) -> None:
    lungs = Remapping.of({v: v for v in table.values("lungs", "label_region")}, 0)
    column_pair = {"TSL.label_region": "TSL.lungs"}  # what yaml reads from `TSL.label_region: TSL.lungs`
    for value in ("TSL.label_region:TSL.lungs", "TSL.label_region , TSL.lungs", "TSL.region:TSL.lungs", column_pair):
        assert parse_remapping(value, BOTH, table) == {"lits": lungs, "drli": lungs}, value


def test_a_comma_between_pairs_parts_datasources(table: LabelTable) -> None:
    found = parse_remapping("TSL.label_region:TSL.kidney, TSL.label_region:TSL.liver", BOTH, table)
    assert found == {
        "lits": table.remapping("TSL.label_region", "TSL.kidney"),
        "drli": table.remapping("TSL.label_region", "TSL.liver"),
    }
    mixed = parse_remapping("{1:3},TSL.label_minimal: TSL.pancreas", BOTH, table, 0)
    assert mixed == {"lits": Remapping.of({1: 3}, 0), "drli": table.remapping("TSL.label_minimal", "TSL.pancreas")}
    apart = parse_remapping("TSL.lungs,TSL.liver", BOTH, table)
    assert apart == {"lits": table.remapping("TSL.lungs"), "drli": table.remapping("TSL.liver")}


def test_all_keeps_every_label_and_names_those_of_the_table(table: LabelTable) -> None:
    kept = parse_remapping("TSL.all", ["ts"], table, 0)["ts"]
    assert kept is not None
    assert kept.is_identity
    assert kept.names[5] == "liver"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{1: 2}], r"each of the 2 datasources \(lits, drli\), found a list of 1"),
        ([None, None, None], "found a list of 3"),
        ({"lits": {1: 2}, "drly": None}, "did you mean 'drli'"),
        ({1: 2.0}, "whole numbers from 0 to 65535, found 2.0"),
        ({1.5: 2}, "found 1.5"),
        ({True: 2}, "found True"),
        ({1: -1}, "found -1"),
        ({1: 65536}, "found 65536"),
        ({1: "kidney"}, "found 'kidney'"),
        ({1: None}, "found None"),
        ([[1, 1], [1, 2]], "each old label once, found 1 more"),
        ({1: 2, "1": 3}, "each old label once"),
        ([[1, 2], [1]], "found 2 old and 1 new values"),
        ([1, 2], "found one list of 2 values"),
        ({0: 1}, "0 to stay 0"),
        ({1: 2, "rest": "drop"}, "rest: keep"),
        ([{1: 2}, {1: "x"}], r"found 'x' \(in entry 2, of 'drli'\)"),
        ("TSL.lunsg", "did you mean TSL.lung"),
        ("TSL.label_full:TSL.label_orgn", "TSL.label_organ"),
        ("TSL.label_region:TSL.label_organ", "no finer than the source"),
        ("TSL.a:TSL.b:TSL.c", "TSL.<from>:<to>"),
        ("kidney", "found 'kidney'"),
        ("{1: 0,2:2:3:3}", "found '{1: 0,2:2:3:3}'"),
        (5, "found 5"),
        ([[1, 2], 3], r"found \[1, 2\] \(in entry 1"),
    ],
)
def test_mistakes_are_named(value: Any, message: str, table: LabelTable) -> None:
    with pytest.raises(SettingsFailed, match=message) as caught:
        parse_remapping(value, BOTH, table, key_name="remapping_source")
    problem = caught.value.problems[0]
    assert (problem.key, problem.value) == ("remapping_source", value)


def test_without_a_table_its_names_cannot_be_used() -> None:
    with pytest.raises(SettingsFailed, match="label table"):
        parse_remapping("TSL.lungs", BOTH)
