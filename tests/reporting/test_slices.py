"""Outlines follow the edges of pixels; slices are cut where a radiologist would look."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.image import imread

from fran.errors import GeometryError
from fran.reporting.slices import MARGIN_MM, outline, slice_svg, view_of

SPACING_MM = (0.8, 1.1, 2.5)


def filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    """The mask that a path encloses, by the even-odd rule along each row of pixel centres."""
    mask = np.zeros(shape, bool)
    for loop in path.split("Z")[:-1]:
        x, y = 0, 0
        corners = []
        for letter, first, second in re.findall(r"([MHV])(\d+)(?: (\d+))?", loop):
            x, y = (int(first), int(second)) if letter == "M" else (int(first), y) if letter == "H" else (x, int(first))
            corners.append((x, y))
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            assert x0 == x1 or y0 == y1
            if x0 == x1:
                mask[min(y0, y1) : max(y0, y1), x0:] ^= True
    return mask


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (5, 7), elements=st.booleans()))
def test_an_outline_encloses_its_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(outline(mask), mask.shape), mask)


def test_straight_edges_are_one_step() -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:5, 2:8] = True
    mask[2:4, 4:6] = False
    assert outline(mask) == "M2 1H8V5H2ZM4 2V4H6V2Z"
    assert outline(np.zeros((3, 4), bool)) == ""


@pytest.mark.parametrize(
    ("spacing_mm", "view"),
    [((1, 1, 1), "axial"), ((0.8, 0.8, 5), "axial"), ((0.8, 4, 0.8), "coronal"), ((4, 0.8, 0.8), "sagittal")],
)
def test_cut_across_thick_slices(spacing_mm, view) -> None:
    assert view_of(spacing_mm).title == view


def test_the_right_side_is_on_the_left_and_the_front_above() -> None:
    """A bright corner at the right front of a mask of known place."""
    image = np.random.default_rng(0).integers(1, 50, (40, 30, 12)).astype(np.int16)
    image[36:, 26:, :] = 1000
    mask = np.zeros(image.shape, bool)
    mask[30:38, 20:28, 4:9] = True
    found = slice_svg(image, {"reference": mask, "prediction": np.zeros_like(mask)}, SPACING_MM, 'a "case"')
    assert (found.view, found.index) == ("axial", 6)
    assert 'aria-label="a &quot;case&quot;"' in found.svg
    assert "prediction" not in found.svg
    data = re.search(r"base64,([^\"]+)", found.svg)
    picture = imread(io.BytesIO(base64.b64decode(data.group(1))), format="jpg")[..., 0]
    rows, columns = picture.shape
    assert picture[0, 0] > 200
    assert picture[-1, -1] < 60
    assert columns == 40  # the margin of 25 mm is 32 voxels, which is beyond both edges
    assert rows == 30
    # 2 voxels of 40 are right of the mask, 2 of 30 in front of it
    (path,) = re.findall(r' d="([^"]+)"', found.svg)
    assert path == "M2 2H10V10H2Z"


def test_the_margin_is_in_mm() -> None:
    mask = np.zeros((200, 150, 9), bool)
    mask[100:110, 70:75, 3:5] = True
    found = slice_svg(None, {"reference": mask}, SPACING_MM, "x")
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', found.svg).groups())
    assert width == pytest.approx(10 * 0.8 + 2 * MARGIN_MM, abs=2 * 0.8)
    assert height == pytest.approx(5 * 1.1 + 2 * MARGIN_MM, abs=2 * 1.1)
    assert "<image" not in found.svg


def test_a_missed_label_is_shown_where_the_other_has_it() -> None:
    nothing, there = np.zeros((20, 15, 12), bool), np.zeros((20, 15, 12), bool)
    there[3:6, 4:7, 8:11] = True
    assert slice_svg(None, {"reference": nothing, "prediction": there}, SPACING_MM, "x").index == 9


def test_other_shapes_are_refused() -> None:
    with pytest.raises(GeometryError, match="one shape"):
        slice_svg(np.zeros((3, 4, 5)), {"reference": np.zeros((3, 4, 6), bool)}, SPACING_MM, "x")
