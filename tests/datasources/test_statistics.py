"""Counting gives what NumPy gives on the voxels themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fran.datasources import statistics
from fran.datasources.records import PERCENTILES

DTYPES = st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32])


@st.composite
def whole_numbers(draw: st.DrawFn) -> NDArray[np.generic]:
    dtype = np.dtype(draw(DTYPES))
    low, high = (
        (-30_000, 30_000) if dtype.kind == "f" or dtype.itemsize > 2 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    values = draw(st.lists(st.integers(int(low), int(high)), min_size=1, max_size=60))
    return np.array(values, dtype)


@given(whole_numbers())
def test_counts_give_the_statistics_of_the_voxels(values: NDArray[np.generic]) -> None:
    counts = statistics.count_whole_numbers(values)
    assert counts is not None
    assert int(counts.counts.sum()) == values.size
    found, exact = statistics.stats_of_counts(counts), values.astype(np.float64)
    assert (found.n, found.min, found.max) == (exact.size, exact.min(), exact.max())
    assert found.mean == pytest.approx(exact.mean(), abs=1e-6)
    assert found.std == pytest.approx(exact.std(), abs=1e-6)
    for p in PERCENTILES:
        assert found.percentiles[str(p)] == pytest.approx(np.percentile(exact, p), abs=1e-6)
    np.testing.assert_array_equal(statistics.histogram(values, counts), np.histogram(exact, 256)[0])
    bins = statistics.bins_of_counts(counts)
    assert bins[1].sum() == exact.size
    assert bins[2].sum() == pytest.approx(exact.sum(), abs=1e-3)
    assert bins[3].sum() == pytest.approx((exact**2).sum(), rel=1e-9)


@given(hnp.arrays(np.float32, st.integers(1, 80), elements=st.floats(-1e4, 1e4, width=32)))
def test_bins_keep_the_sums(values: NDArray[np.float32]) -> None:
    bins, exact = statistics.bins_of_values(values), values.astype(np.float64)
    stats = statistics.stats_of_bins(bins, float(values.min()), float(values.max()))
    assert stats.n == values.size
    assert stats.mean == pytest.approx(exact.mean(), abs=1e-3)
    width = np.ptp(exact) / statistics.IMAGE_BINS
    assert stats.percentiles["50.0"] <= exact.max() + 1e-3
    assert stats.percentiles["0.5"] >= exact.min() - width - 1e-3


@pytest.mark.parametrize("values", [[0.0, 0.5], [0.0, 70_000.0], [-40_000.0, 40_000.0]])
def test_what_cannot_be_counted(values: list[float]) -> None:
    assert statistics.count_whole_numbers(np.array(values, np.float32)) is None


def test_content_does_not_depend_on_the_order_of_storage() -> None:
    array = np.random.default_rng(0).integers(-100, 100, (5, 7, 9)).astype(np.int16)
    turned = np.asfortranarray(array)[::-1].copy(order="F")[::-1]
    counts = statistics.count_whole_numbers(array.ravel())
    assert counts is not None
    bins = statistics.bins_of_counts(counts)
    assert statistics.image_content(array, bins) == statistics.image_content(turned, bins)
    other = array.copy()
    other[0, 0, 0], other[0, 0, 1] = array[0, 0, 1], array[0, 0, 0]
    assert statistics.image_content(array, bins) != statistics.image_content(other, bins)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 0, 0, 1, 2], True),
        ([0, 0, 0], True),
        ([0, 1, 2, 3, 4], False),
        ([-1, 0, 0, 0], False),
        ([0, 0, 0, 900], False),
    ],
)
def test_what_looks_like_labels(values: list[int], labels: bool) -> None:
    counts = statistics.count_whole_numbers(np.array(values, np.int16))
    assert counts is not None and counts.looks_like_labels is labels
