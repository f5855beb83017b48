from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.excel.formulas import NotEvaluated, evaluate
from fran.excel.grammar import NotThis, is_blank, literal, names, number, split, triple, truth, whole
from fran.excel.plan_keys import PLAN_KEYS, label_pairs, remapping
from fran.excel.plans import reference
from fran.excel.render import flow


@pytest.mark.parametrize("text", ["", "  ", "nan", "NaN", "na", "NULL", "None", None])
def test_blank(text: str | None) -> None:
    assert is_blank(text)
    assert literal(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.8,.8,1.5", [0.8, 0.8, 1.5]),
        ("[1,1,2]", [1, 1, 2]),
        ("[0.25,0.5],[1.5,2.0]", [[0.25, 0.5], [1.5, 2]]),
        ("{1:1,2:1,3:2}", {1: 1, 2: 1, 3: 2}),
        ("[ResidualUNet3D,UNet3D, nnUNet]", ["ResidualUNet3D", "UNet3D", "nnUNet"]),
        ("[None,tumour]", [None, "tumour"]),
        ("[0,1.]", [0, 1]),
        ("TRUE", True),
        ("1e-3", 0.001),
        ("5.0", 5),
        ("'a b'", "a b"),
        ("TSL.label_region:TSL.lungs", "TSL.label_region:TSL.lungs"),
        ("rrr", "rrr"),
        ("[]", []),
        ("{}", {}),
    ],
)
def test_literals(text: str, value: object) -> None:
    assert literal(text) == value


@pytest.mark.parametrize("value", [True, "TRUE", "true", 1, "1", "1.0", " yes "])
def test_true(value: object) -> None:
    assert truth(value) is True


@pytest.mark.parametrize("value", [False, "FALSE", 0, "0", "0.0", "no"])
def test_false_and_the_text_0_is_false(value: object) -> None:
    assert truth(value) is False


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (truth, "maybe"),
        (truth, 2),
        (number, "many"),
        (number, True),
        (whole, 2.5),
        (triple, "0.8,0.8"),
        (triple, "a,b,c"),
        (names, "a,,b"),
        (split, "[1,2"),
        (split, "1]"),
        (literal, "{1:0,2:2:3:3}"),
        (remapping, "{1:0,2:2:3:3}"),
        (remapping, "lungs"),
        (remapping, "{a: b}"),
        (PLAN_KEYS["mode"].parse, "lbdd"),
        (PLAN_KEYS["expand_by"].parse, "0.2,0.1,0.1"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected(parse, text: object) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotThis) as expected:
        parse(text)
    assert str(expected.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{1:0,2:1},None", [{1: 0, 2: 1}, None]),
        ("{1:3},TSL.label_minimal: TSL.pancreas", [{1: 3}, "TSL.label_minimal:TSL.pancreas"]),
        ("TSL.label_localiser", "TSL.label_localiser"),
        ("TSL.all,TSL.label_minimal", "TSL.all:TSL.label_minimal"),
        ("TSL.a,TSL.b,TSL.a,TSL.c", ["TSL.a:TSL.b", "TSL.a:TSL.c"]),
        ("TSL.a:TSL.b,None", ["TSL.a:TSL.b", None]),
        ("[1,2,3],[0,2,3]", [[1, 2, 3], [0, 2, 3]]),
        ("[[1,2],[1,1]]", [[1, 2], [1, 1]]),
    ],
)
def test_remappings(text: str, value: object) -> None:
    assert remapping(text) == value


def test_old_label_pairs_are_a_dict() -> None:
    assert label_pairs("[0,0],[1,1]") == {0: 0, 1: 1}
    assert label_pairs("{1:2}") == {1: 2}


@pytest.mark.parametrize(
    ("text", "name", "mode"),
    [("4, lbd", "liver_plan4", "lbd"), ("plan4", "liver_plan4", ""), (4, "liver_plan4", ""), ("04", "liver_plan4", "")],
)
def test_references(text: object, name: str, mode: str) -> None:
    assert reference(text, "liver_", {}) == (name, mode)


@pytest.mark.parametrize(
    ("formula", "value"),
    [("=TRUE()", True), ("=FALSE()", False), ("=PI()/8", math.pi / 8), ("=-(2+3)*4^2", -80), ("=1.5E-3", 0.0015)],
)
def test_formulas(formula: str, value: float) -> None:
    assert evaluate(formula) == pytest.approx(value)
    assert isinstance(evaluate(formula), bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    "formula", ["=A1", "=SUM(A1:A3)", "=1/0", "=9^999999", "=PI(3)", "=__import__('os')", "=", "=(" * 300]
)
def test_other_formulas_are_not_evaluated(formula: str) -> None:
    with pytest.raises(NotEvaluated):
        evaluate(formula)


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(-1e6, 1e6).map(lambda x: round(x, 4))
)
_WORDS = st.from_regex(r"[a-z][a-z_.]{0,8}", fullmatch=True).filter(
    lambda w: w not in ("none", "nan", "na", "null", "true", "false")
)


@given(st.recursive(_SCALARS | _WORDS, lambda inner: st.lists(inner, max_size=4), max_leaves=12))
def test_what_python_writes_is_read_back(value: object) -> None:
    text = str(value).replace("'", "") if isinstance(value, list) else str(value)
    assert literal(text) == value


@given(st.text(max_size=30))
def test_yaml_texts_come_back_as_texts(text: str) -> None:
    import yaml

    found = yaml.safe_load(f"notes: {flow(text)}")["notes"]
    assert isinstance(found, str)
    if "${" not in text and "???" not in text:
        assert found == text


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (literal, remapping, names, triple, PLAN_KEYS["imported_folder"].parse, PLAN_KEYS["lm_groups"].parse):
        try:
            parse(text)
        except NotThis as expected:
            assert str(expected)
