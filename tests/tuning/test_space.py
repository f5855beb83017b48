from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fran.errors import ConfigError
from fran.tuning.domains import KINDS
from fran.tuning.space import Space

NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))
POSITIVE = st.floats(0.001, 100).map(lambda x: round(x, 4))
STEPS = st.sampled_from([0.0005, 0.01, 0.1, 0.25, 1, 2, 3])


def _between(low: float, high: float) -> dict[str, Any]:
    return {"low": min(low, high), "high": max(low, high)}


def _stepped(low: float, count: int, q: float) -> dict[str, Any]:
    high = float(Decimal(str(low)) + Decimal(str(q)) * (count + 1))
    return {"low": low, "high": high, "q": q}


def _double(values: list[float]) -> dict[str, Any]:
    a, b, c, d = sorted(values)
    return {"low": [a, b], "high": [c, d]}


DOMAINS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "choice": st.fixed_dictionaries(
        {
            "options": st.lists(
                st.integers() | st.booleans() | st.text("abc", max_size=3) | st.lists(NUMBERS), min_size=1
            )
        }
    ),
    "uniform": st.builds(_between, NUMBERS, NUMBERS),
    "loguniform": st.builds(_between, POSITIVE, POSITIVE),
    "randint": st.builds(lambda low, n: {"low": low, "high": low + n}, st.integers(-50, 50), st.integers(1, 20)),
    "quniform": st.builds(_stepped, NUMBERS, st.integers(0, 9), STEPS),
    "qrandint": st.builds(_stepped, st.integers(-50, 50), st.integers(0, 9), st.integers(1, 7)).map(
        lambda d: {**d, "high": int(d["high"])}
    ),
    "qloguniform": st.builds(_stepped, POSITIVE, st.integers(0, 9), STEPS),
    "range": st.builds(_between, NUMBERS, NUMBERS)
    | st.builds(lambda d, step: {**d, "step": step}, st.builds(_between, NUMBERS, NUMBERS), STEPS),
    "double_range": st.lists(NUMBERS, min_size=4, max_size=4).map(_double),
    "spec": st.builds(
        lambda plus, top: {"of": "base", "plus": sorted(plus), **({} if top is None else {"at_most": top})},
        st.lists(NUMBERS, min_size=2, max_size=2),
        st.none() | NUMBERS,
    ),
}


def _is_multiple(value: float, step: float, start: float = 0) -> bool:
    return (Decimal(str(value)) - Decimal(str(start))) % Decimal(str(step)) == 0


def _fits(kind: str, stated: dict[str, Any], value: Any, base: float) -> bool:
    match kind:
        case "choice":
            return value in stated["options"]
        case "double_range":
            pairs = zip(value, (stated["low"], stated["high"]), strict=True)
            return all(low <= x <= high for x, (low, high) in pairs) and value[0] <= value[1]
        case "spec":
            low, high = (base + p for p in stated["plus"])
            top = stated.get("at_most", math.inf)
            return min(low, top) - 1e-9 <= value <= min(high, top) + 1e-9
        case "randint":
            return isinstance(value, int) and stated["low"] <= value < stated["high"]
    inside = stated["low"] <= value <= stated["high"]
    if "q" in stated:
        return inside and _is_multiple(value, stated["q"])
    return inside and ("step" not in stated or _is_multiple(value, stated["step"], stated["low"]))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_draws_in_range_and_survives_yaml(kind: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(DOMAINS[kind], st.integers(0, 2**32))
    def holds(stated: dict[str, Any], seed: int) -> None:
        base = {"base": {"domain": "uniform", "low": 0.5, "high": 0.9}}
        space = Space.from_plain(base | {"a.b": {"domain": kind, **stated}})
        assert Space.from_yaml(space.to_yaml()) == space
        assert Space.from_yaml(space.to_yaml()).to_yaml() == space.to_yaml()
        for _ in range(5):
            rng = np.random.default_rng(seed)
            drawn = space.sample(rng)
            assert _fits(kind, stated, drawn["a.b"], drawn["base"]), (stated, drawn)
            assert drawn == space.sample(np.random.default_rng(seed)), "a seed gives the same values"

    holds()


def test_every_kind_has_its_strategy() -> None:
    assert set(DOMAINS) == set(KINDS)


def test_every_point_of_a_grid_is_drawn() -> None:
    space = Space.from_yaml(
        "a: {domain: quniform, low: 0, high: 0.5, q: 0.1}\nb: {domain: qrandint, low: 4, high: 6, q: 1}"
    )
    rng = np.random.default_rng(1)
    drawn = [space.sample(rng) for _ in range(300)]
    assert {d["a"] for d in drawn} == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert {d["b"] for d in drawn} == {4, 5, 6}


def test_the_old_rule_for_momentum() -> None:
    space = Space.from_yaml(
        "high: {domain: spec, of: low, plus: [0.05, 0.35], at_most: 0.99}\nlow: {domain: uniform, low: 0.6, high: 0.91}"
    )
    for seed in range(50):
        drawn = space.sample(np.random.default_rng(seed))
        assert list(drawn) == ["high", "low"]
        assert drawn["low"] + 0.05 <= drawn["high"] <= 0.99 or drawn["high"] == 0.99


def test_a_spec_without_plus_shares_the_draw() -> None:
    space = Space.from_yaml("a: {domain: uniform, low: 0, high: 1}\nb: {domain: spec, of: a}")
    drawn = space.sample(np.random.default_rng(3))
    assert drawn["a"] == drawn["b"]


def test_what_is_not_tuned_is_kept_but_not_drawn() -> None:
    space = Space.from_yaml("a: {domain: uniform, low: 0, high: 1, tune: false}\nb: {domain: choice, options: [1]}")
    assert space.sample(np.random.default_rng(0)) == {"b": 1}
    assert "tune: false" in space.to_yaml()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {domain: unifrom, low: 0, high: 1}", "did you mean 'uniform'"),
        ("a: {domain: uniform, low: 1, high: 0}", "low: expected at most high"),
        ("a: {domain: uniform, low: 0}", "expected uniform with low, high"),
        ("a: {domain: uniform, low: x, high: 1}", "expected numbers"),
        ("a: {domain: loguniform, low: 0, high: 1}", "above 0"),
        ("a: {domain: quniform, low: 0.1, high: 0.2, q: 0.5}", "multiple of it"),
        ("a: {domain: quniform, low: 0.1, high: 0.2, q: 0}", "q: expected a number above 0"),
        ("a: {domain: qrandint, low: 0.5, high: 2, q: 1}", "whole numbers"),
        ("a: {domain: randint, low: 4, high: 4}", "low below high"),
        ("a: {domain: choice, options: []}", "one at least"),
        ("a: {domain: double_range, low: [0, 3], high: [2, 4]}", "at most high"),
        ("a: {domain: double_range, low: 1, high: 2}", "a pair of numbers"),
        ("a: {domain: spec, of: b}", "found b"),
        ("a: {domain: spec, of: a}", "found a"),
        ("a: {domain: range, low: 0, high: 1, step: -1}", "step"),
        ("a: {domain: uniform, low: 0, high: 1, tune: 3}", "true or false"),
        ("a: 3", "expected a domain"),
        ("- 3", "dotted keys"),
        ("a: {", "found a mistake"),
    ],
)
def test_mistakes_are_said(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Space.from_yaml(text)


def test_numbers_that_yaml_takes_for_text_are_numbers() -> None:
    space = Space.from_yaml("lr: {domain: loguniform, low: 1e-4, high: 1e-2}")
    assert 1e-4 <= space.sample(np.random.default_rng(0))["lr"] <= 1e-2


def test_no_search_program_is_imported() -> None:
    code = "import sys; sys.modules['ray'] = None; sys.modules['hydra'] = None; import fran.tuning.space"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
