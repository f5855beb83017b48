from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran import keys
from fran.data.crops import CropDataset
from fran.data.sampling import one_pass, shares, weights_by_file
from fran.data.source import CaseSource
from fran.errors import ConfigError

weights = st.lists(st.floats(0, 10), min_size=1, max_size=12).filter(lambda values: sum(values) > 1e-3)


@pytest.fixture
def two_sources(manifest):
    return replace(manifest, cases={c: replace(e, datasource="ab"[c > "case2"]) for c, e in manifest.cases.items()})


@given(weights, st.integers(0, 2**32))
def test_each_case_comes_its_share_of_times_in_every_pass(values, seed):
    ids = [f"c{i}" for i in range(len(values))]
    found = shares(dict(zip(ids, values, strict=True)), ids)
    drawn = np.bincount(one_pass(found, len(ids), np.random.default_rng(seed)), minlength=len(ids))
    assert drawn.sum() == len(ids)
    assert (np.abs(drawn - found * len(ids)) < 1 + 1e-9).all()
    assert not drawn[found == 0].any()


@given(st.integers(1, 20), st.floats(0.1, 5), st.integers(0, 2**32))
def test_equal_weights_are_as_good_as_none(n, weight, seed):
    equal = shares({f"c{i}": weight for i in range(n)}, [f"c{i}" for i in range(n)])
    for found in (equal, None):
        assert sorted(one_pass(found, n, np.random.default_rng(seed))) == list(range(n))


def test_a_datasources_cases_come_so_many_times_as_often(two_sources, labels, ct_properties):
    source = CaseSource(two_sources, sorted(two_sources.cases), labels, ct_properties)
    by_file = weights_by_file(two_sources, {}, {"b": 3})
    crops = CropDataset(source, (4, 4, 4), case_weights=by_file)
    drawn = Counter(crops[i][keys.CASE_ID] for i in range(600))
    weight = {c: 3 if c > "case2" else 1 for c in source.case_ids}
    for case_id, times in drawn.items():
        assert times / 600 == pytest.approx(weight[case_id] / sum(weight.values()), abs=0.02)


def test_weights_by_case_and_datasource_multiply(two_sources):
    found = weights_by_file(two_sources, {"case3": 0.5}, {"b": 3})
    assert found == {c: {"case3": 1.5}.get(c, 3.0 if c > "case2" else 1.0) for c in two_sources.cases}
    assert weights_by_file(two_sources, {}, {}) == {}


def test_classes_come_by_their_weights(manifest, labels, ct_properties):
    source = CaseSource(manifest, sorted(manifest.cases), labels, ct_properties)
    crops = CropDataset(source, (2, 2, 2), fg_fraction=1.0, class_weights={"lesion": 3})
    drawn = [crops._foreground_centre(source.case_ids[i % len(source)], np.random.default_rng(i)) for i in range(600)]
    channels = [source.volume(source.case_ids[i % len(source)])[1][tuple(v)] for i, v in enumerate(drawn)]
    assert np.mean(np.array(channels) == 2) == pytest.approx(0.75, abs=0.05)


def test_unknown_names_and_odd_weights_are_refused_with_the_choices(two_sources, labels, ct_properties):
    with pytest.raises(ConfigError, match=r"datasource_sampling_weights: no 'bb'; did you mean 'b'\? choices: a, b"):
        weights_by_file(two_sources, {}, {"bb": 2})
    with pytest.raises(ConfigError, match=r"case_sampling_weights: no 'case33'; did you mean 'case3'"):
        weights_by_file(two_sources, {"case33": 2}, {})
    with pytest.raises(ConfigError, match=r"numbers of 0 or more, found \{'b': -1, 'a': 'x'\}"):
        weights_by_file(two_sources, {}, {"b": -1, "a": "x"})
    source = CaseSource(two_sources, ["case0"], labels, ct_properties)
    with pytest.raises(ConfigError, match=r"class_sampling_weights: no 'background'.*choices: lesion, organ"):
        CropDataset(source, (4, 4, 4), class_weights={"background": 2})
