from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.errors import ConfigError, DataError
from fran.labels import IDENTITY, Remapping, composed

VALUES = st.integers(1, 300)
RESTS = st.sampled_from(["keep", 0, 7])
REMAPPINGS = st.builds(Remapping.of, st.dictionaries(VALUES, st.integers(0, 300), max_size=8), RESTS)
ARRAYS = st.lists(st.integers(0, 310), min_size=24, max_size=24).map(
    lambda drawn: np.array(drawn, dtype=np.uint16).reshape(2, 3, 4)
)


@given(REMAPPINGS, ARRAYS)
def test_voxels_follow_the_pairs_and_the_rest(remapping: Remapping, lm: np.ndarray) -> None:
    result = remapping.apply(lm)
    assert result.shape == lm.shape
    expected = [
        0 if v == 0 else remapping.mapping.get(v, v if remapping.rest == "keep" else remapping.rest) for v in lm.flat
    ]
    assert result.ravel().tolist() == expected
    assert result.dtype == (np.uint8 if max(expected) <= 255 else np.uint16)


@given(REMAPPINGS, REMAPPINGS, ARRAYS)
def test_composing_is_applying_one_after_the_other(first: Remapping, then: Remapping, lm: np.ndarray) -> None:
    np.testing.assert_array_equal(first.compose(then).apply(lm), then.apply(first.apply(lm)))


@given(REMAPPINGS, REMAPPINGS, REMAPPINGS)
def test_composition_is_associative_and_has_an_identity(a: Remapping, b: Remapping, c: Remapping) -> None:
    assert a.compose(b).compose(c) == a.compose(b.compose(c))
    assert a.compose(IDENTITY) == IDENTITY.compose(a) == a == composed([None, a, None])


@given(REMAPPINGS, st.sets(VALUES))
def test_the_inverse_holds_every_old_value_under_its_new_one(remapping: Remapping, values: set[int]) -> None:
    inverse = remapping.inverse(values)
    assert sorted(old for olds in inverse.values() for old in olds) == sorted(values)
    assert all(remapping[old] == new for new, olds in inverse.items() for old in olds)


@given(st.dictionaries(VALUES, st.integers(0, 300), max_size=8), RESTS, st.sets(VALUES), st.randoms())
def test_one_meaning_is_one_object(pairs: dict[int, int], rest: str | int, idle: set[int], random) -> None:  # type: ignore[no-untyped-def]
    said = Remapping.of(pairs, rest)  # type: ignore[arg-type]
    longer = {v: said[v] for v in {*idle, *pairs}} | {0: 0}
    shuffled = dict(random.sample(sorted(longer.items()), len(longer)))
    assert Remapping.of(shuffled, rest, {1: "named"}) == said  # type: ignore[arg-type]
    assert Remapping.of(shuffled, rest).canonical() == said.canonical()  # type: ignore[arg-type]
    assert Remapping.from_canonical(said.canonical()) == said
    assert hash(Remapping.of(shuffled, rest)) == hash(said)  # type: ignore[arg-type]


def test_merged_values_are_found_back() -> None:
    assert Remapping.of({1: 1, 2: 1, 5: 0}).inverse() == {0: (5,), 1: (1, 2)}
    assert Remapping.of({1: 1, 2: 1}, rest=0).inverse([1, 2, 3]) == {0: (3,), 1: (1, 2)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int64, np.uint32])
def test_any_integer_goes_in_and_the_smallest_unsigned_comes_out(dtype: type) -> None:
    lm = np.array([[[0, 1, 2]]], dtype=dtype)
    assert Remapping.of({2: 9}).apply(lm).dtype == np.uint8
    wide = Remapping.of({2: 65535}).apply(lm)
    assert wide.dtype == np.uint16
    assert wide.tolist() == [[[0, 1, 65535]]]


def test_what_is_no_label_map_is_refused() -> None:
    with pytest.raises(DataError, match="whole numbers, found float32"):
        Remapping.of({1: 2}).apply(np.zeros((1, 1, 1), dtype=np.float32))
    with pytest.raises(DataError, match="found -1 to 3"):
        Remapping.of({1: 2}).apply(np.array([[[-1, 3]]], dtype=np.int16))


@pytest.mark.parametrize(
    ("pairs", "rest", "message"),
    [
        (((1, -2),), "keep", "found -2"),
        (((70000, 1),), "keep", "found 70000"),
        (((1, 2), (1, 3)), "keep", "each old value once"),
        (((0, 1),), "keep", "0 is background"),
        ((), "drop", "found drop"),
    ],
)
def test_impossible_remappings_are_refused(pairs: tuple[tuple[int, int], ...], rest: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Remapping(pairs, rest)  # type: ignore[arg-type]
