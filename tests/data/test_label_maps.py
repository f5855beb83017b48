"""Stored label values become channels, a table for each datasource."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fran.data.source import CaseSource
from fran.errors import DataError
from fran.io.manifest import Manifest
from fran.labels import LabelScheme


@pytest.fixture
def two_sources(manifest: Manifest) -> Manifest:
    cases = {c: replace(entry, datasource="ab"[c > "case2"]) for c, entry in manifest.cases.items()}
    return replace(manifest, cases=cases)


def test_a_label_mapped_to_0_is_background(manifest: Manifest, ct_properties: dict) -> None:
    whole = CaseSource(manifest, ["case0"], LabelScheme((3, 7)), ct_properties)
    organ = CaseSource(manifest, ["case0"], LabelScheme((3,)), ct_properties, {7: 0})
    lesion = CaseSource(manifest, ["case0"], LabelScheme((7,)), ct_properties, {3: 0})
    channels = whole.volume("case0")[1]
    np.testing.assert_array_equal(organ.volume("case0")[1], channels == 1)
    np.testing.assert_array_equal(lesion.volume("case0")[1], channels == 2)
    assert organ.channels_present("case0") == lesion.channels_present("case0") == [1]
    assert len(lesion.foreground("case0", 1)) == len(whole.foreground("case0", 2))


def test_each_datasource_has_its_own_table(two_sources: Manifest, ct_properties: dict) -> None:
    maps = {"a": {3: 1, 7: 2}, "b": {3: 2, 7: 0}}
    source = CaseSource(two_sources, ["case0", "case3"], LabelScheme((1, 2)), ct_properties, label_maps=maps)
    plain = CaseSource(two_sources, ["case0", "case3"], LabelScheme((3, 7)), ct_properties)
    np.testing.assert_array_equal(source.volume("case0")[1], plain.volume("case0")[1])
    np.testing.assert_array_equal(source.volume("case3")[1], 2 * (plain.volume("case3")[1] == 1))
    assert (source.channels_present("case0"), source.channels_present("case3")) == ([1, 2], [2])
    assert len(source.foreground("case3", 2)) == len(plain.foreground("case3", 1))


def test_a_complete_map_tells_strangers(two_sources: Manifest, ct_properties: dict) -> None:
    with pytest.raises(DataError, match=r"also \[7\]"):
        CaseSource(two_sources, ["case0"], LabelScheme((3, 7)), ct_properties, label_maps={"a": {3: 3}})
