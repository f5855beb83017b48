"""Scores that become final plane by plane give what whole scores give, voxel for voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fran.geometry import Grid, Reorientation
from fran.preprocessing.chain import GeometryChain

SHAPE = (23, 19, 13)
SPACINGS_MM = [(0.9, 1.1, 1.7), (1.7, 2.3, 1.1), (0.5, 0.6, 4.1)]


class Arriving:
    """Scores of which a range of planes may be read; whatever else is asked for fails."""

    def __init__(self, scores: np.ndarray, axis: int) -> None:
        self.scores, self.axis, self.shape = scores, axis, scores.shape
        self.first, self.final = 0, 0

    def __getitem__(self, key: Any) -> np.ndarray:
        asked = key[self.axis + 1]
        assert self.first <= asked.start < asked.stop <= self.final, "a plane that is not there was read"
        return self.scores[key]


def chain_of(spacing_mm: tuple[float, float, float], crop: bool) -> GeometryChain:
    ras = Grid(SHAPE, np.diag([0.9, 1.1, 1.7, 1.0]))
    chain = GeometryChain(ras, Reorientation((0, 1, 2), (False,) * 3), ras, ras).resampled(spacing_mm)
    return chain.cropped((2, -3, 1), (9, 8, 6)) if crop else chain


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("crop", [False, True])
@settings(deadline=None, max_examples=20)
@given(axis=st.integers(0, 2), step=st.integers(1, 12))
def test_slabs_equal_the_whole(spacing_mm: tuple[float, float, float], crop: bool, axis: int, step: int) -> None:
    chain = chain_of(spacing_mm, crop)
    scores = np.random.default_rng(0).standard_normal((5, *chain.stored.shape)).astype(np.float32)
    argmax = chain.slab_argmax(axis)
    out, arriving, done = argmax.empty(5), Arriving(scores, axis), 0
    n_planes = chain.stored.shape[axis]
    for final in range(step, n_planes + step, step):
        arriving.final = min(final, n_planes)
        ready = argmax.ready(arriving.final)
        argmax.write(arriving, out, done, ready)
        done, arriving.first = ready, argmax.keep(arriving.final)
    assert done == argmax.n_slabs and arriving.first == n_planes
    np.testing.assert_array_equal(out, _in_one_piece(chain, scores, axis))
    assert len(np.unique(out)) == 5


def _in_one_piece(chain: GeometryChain, scores: np.ndarray, axis: int) -> np.ndarray:
    argmax = chain.slab_argmax(axis)
    out = argmax.empty(len(scores))
    argmax.write(scores, out, 0, argmax.n_slabs)
    return out


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_the_axis_changes_nothing_but_near_ties(spacing_mm: tuple[float, float, float]) -> None:
    chain = chain_of(spacing_mm, crop=True)
    scores = np.random.default_rng(1).standard_normal((4, *chain.stored.shape)).astype(np.float32)
    results = [_in_one_piece(chain, scores, axis) for axis in range(3)]
    for other in results[1:]:
        assert np.mean(other == results[0]) > 0.9999


def test_a_crop_that_speaks_for_no_voxel_is_background() -> None:
    chain = chain_of(SPACINGS_MM[0], crop=False).cropped((40, 0, 0), (44, 4, 4))
    scores = np.ones((3, *chain.stored.shape), np.float32)
    argmax = chain.slab_argmax(2)
    out = argmax.empty(3)
    assert argmax.n_slabs == 0 and argmax.keep(0) == 4
    argmax.write(scores, out, 0, argmax.n_slabs)
    assert out.shape == SHAPE and not out.any()
