"""The picture: which way round it is, which slices it shows, and that it is written whole."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from fran.errors import GeometryError
from fran.reporting.overlay import VIEWS, central_slices, display_window, most_wrong_slices, overlay_png, title_text

SHAPE = (20, 14, 9)
SPACING = (1.0, 1.5, 3.0)


def _case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.random.default_rng(3).normal(40, 10, SHAPE).astype(np.float32)
    ref = np.zeros(SHAPE, np.uint8)
    ref[4:9, 5:9, 2:6] = 1
    ref[12:15, 5:7, 3:5] = 200
    return image, np.roll(ref, 1, axis=0), ref


@pytest.mark.parametrize(
    ("view", "corner", "row_col"),
    [
        (VIEWS[0], (19, 13, 4), (13, 0)),  # right, front: top left
        (VIEWS[1], (19, 6, 8), (8, 0)),  # right, head: top left
        (VIEWS[2], (10, 13, 8), (8, 0)),  # front, head: top left
    ],
)
def test_radiological_orientation(view, corner, row_col) -> None:  # type: ignore[no-untyped-def]
    volume = np.zeros(SHAPE, np.uint8)
    volume[corner] = 1
    plane = view.cut(volume, corner[view.axis])
    assert plane.shape == (SHAPE[view.up], SHAPE[view.right])
    assert [tuple(int(i) for i in at) for at in np.argwhere(plane)] == [row_col]


def test_slices_go_through_the_structure() -> None:
    one = np.zeros(SHAPE, bool)
    one[2:7, 9:12, 1:4] = True
    assert central_slices(one) == (4, 10, 2)
    two = np.zeros(SHAPE, bool)
    two[1:5, 3:6, 2:5] = True
    two[15:20, 3:6, 2:5] = True
    assert two[central_slices(two)[0]].any()
    assert central_slices(np.zeros(SHAPE, bool)) == (10, 7, 4)


def test_the_window_looks_near_the_foreground() -> None:
    image = np.full((100, 40, 30), -1000.0)
    image[10:20, 10:20, 10:20] = np.linspace(0, 100, 1000).reshape(10, 10, 10)
    image[90:, :, :] = 3000
    foreground = np.zeros(image.shape, bool)
    foreground[12:18, 12:18, 12:18] = True
    low, high = display_window(image, foreground, (1, 1, 1))
    assert -1 < low < 5
    assert 95 < high < 101


def test_writes_a_png_and_the_same_one_again(tmp_path: Path) -> None:
    image, pred, ref = _case()
    names = {1: "kidney", 200: "tumour"}
    first = overlay_png(image, pred, ref, names, SPACING, tmp_path / "a" / "one.png", case_id="kits_4")
    second = overlay_png(image, pred, ref, names, SPACING, tmp_path / "two.png", case_id="kits_4")
    content = first.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert width > height > 300
    assert content == second.read_bytes()
    other = overlay_png(image, ref, ref, names, SPACING, tmp_path / "three.png", case_id="kits_4")
    assert other.read_bytes() != content


def test_empty_label_maps_and_many_labels_are_drawn_too(tmp_path: Path) -> None:
    image, _, ref = _case()
    empty = np.zeros_like(ref)
    assert overlay_png(image, empty, empty, {}, SPACING, tmp_path / "empty.png").stat().st_size > 1000
    many = np.random.default_rng(1).integers(0, 60, SHAPE).astype(np.uint8)
    assert overlay_png(image, many, many, {}, SPACING, tmp_path / "many.png").stat().st_size > 1000


def test_title_names_dice_per_label() -> None:
    _, pred, ref = _case()
    assert title_text(pred, ref, {1: "kidney"}, [1, 200], "kits_4") == "kits_4    Dice kidney 0.80, label_200 0.67"
    assert title_text(ref * 0, ref * 0, {}, [], "kits_4") == "kits_4    no foreground"


def test_shapes_must_agree(tmp_path: Path) -> None:
    image, pred, ref = _case()
    with pytest.raises(GeometryError, match="one shape"):
        overlay_png(image[1:], pred, ref, {}, SPACING, tmp_path / "no.png")


def test_most_wrong_slices_are_where_the_maps_differ_most() -> None:
    _, _, ref = _case()
    pred = ref.copy()
    pred[3, 2:12, 1:8] ^= 1
    assert most_wrong_slices(pred, ref)[0] == 3
    assert most_wrong_slices(ref, ref) == central_slices(ref > 0)
