from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.errors import DataError
from fran.labels import LabelScheme


@given(st.sets(st.integers(1, 65535), min_size=1, max_size=300), st.randoms())
def test_channels_are_consecutive_and_come_back(values: set[int], random) -> None:  # type: ignore[no-untyped-def]
    scheme = LabelScheme.from_values(values)
    drawn = random.choices([0, *values], k=60)
    lm = np.array(drawn, dtype=np.uint16).reshape(3, 4, 5)
    channels = scheme.to_channels(lm)
    assert channels.max() < scheme.n_classes == len(values) + 1
    assert scheme.channel_dtype == (np.uint8 if scheme.n_classes < 255 else np.uint16)
    np.testing.assert_array_equal(scheme.from_channels(channels), lm)
    assert LabelScheme.from_dict(scheme.to_dict()) == scheme


def test_values_outside_the_scheme_are_named() -> None:
    with pytest.raises(DataError, match=r"among \[0, 1, 2\], found also \[7\]"):
        LabelScheme((1, 2)).to_channels(np.array([[[0, 1, 7]]], dtype=np.uint8))


def test_impossible_values_are_refused() -> None:
    with pytest.raises(DataError, match="from 1 to 65535"):
        LabelScheme((-1, 2))
    with pytest.raises(DataError, match="from 1 to 65535"):
        LabelScheme((70000,))


def test_zero_and_repetitions_are_no_labels() -> None:
    scheme = LabelScheme.from_values([0, 3, 3, 1], {3: "cyst", 9: "elsewhere"})
    assert scheme.values == (1, 3)
    assert scheme.channel_names == ["background", "label_1", "cyst"]


def test_what_a_class_is_made_of_is_kept() -> None:
    scheme = LabelScheme((2, 9), {2: "tumour"}, {2: (("kits", 2, "tumour"), ("lits", 3, "lesion")), 5: ()})
    assert scheme.origins == {2: (("kits", 2, "tumour"), ("lits", 3, "lesion"))}
    stored = json.loads(json.dumps(scheme.to_dict()))
    assert LabelScheme.from_dict(stored) == scheme
    assert "origins" not in LabelScheme((2, 9)).to_dict()
