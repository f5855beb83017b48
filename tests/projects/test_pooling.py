"""Tones: values by number, sum and squares, exact for whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fran.projects.pooling import merged_tones, tones_of
from fran.projects.properties import clipped_moments


def bins_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`CaseArrays.bins` of an image in which every value has a bin of its own."""
    edges, counts = np.unique(values, return_counts=True)
    return np.stack([edges, counts, edges * counts, edges**2 * counts])


whole = st.lists(st.integers(-8191, 8191), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(whole, min_size=1, max_size=5), st.integers(-9000, 0), st.integers(1, 9000))
def test_clipped_moments_of_whole_numbers_are_numpys(images: list[list[int]], low: int, high: int) -> None:
    tones = tones_of([bins_of(np.array(image, float)) for image in images])
    clipped = np.clip(np.concatenate(images), low, high)
    assert clipped_moments(tones, low, high) == pytest.approx((clipped.mean(), clipped.std()), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(whole, min_size=1, max_size=6), st.integers(0, 6))
def test_adding_later_is_adding_at_once(images: list[list[int]], cut: int) -> None:
    bins = [bins_of(np.array(image, float)) for image in images]
    later = merged_tones([tones_of(bins[:cut]), tones_of(bins[cut:])])
    np.testing.assert_allclose(later, tones_of(bins))


def test_real_numbers_keep_their_sums_and_are_near_when_clipped() -> None:
    values = np.random.default_rng(3).normal(300, 900, 5000)
    tones = tones_of([bins_of(values)])
    assert tones.shape[1] < 5000
    assert tones[1:].sum(axis=1) == pytest.approx([5000, values.sum(), (values**2).sum()])
    clipped = np.clip(values, -200, 1500)
    assert clipped_moments(tones, -200, 1500) == pytest.approx((clipped.mean(), clipped.std()), rel=1e-4)


def test_empty_bins_are_left_out() -> None:
    bins = np.array([[0.0, 1, 2], [3, 0, 1], [0, 0, 2], [0, 0, 4]])
    assert tones_of([bins]).tolist() == [[0, 2], [3, 1], [0, 2], [0, 4]]
