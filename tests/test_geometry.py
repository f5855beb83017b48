"""Grids, reorientation and spacing, on volumes whose three sides differ."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from fran.errors import GeometryError
from fran.geometry import Grid, Reorientation, axis_map, reorientation_to_ras, resampled_grid

SHAPE = (5, 7, 9)


def rotation(x_deg: float, y_deg: float, z_deg: float) -> np.ndarray:
    cx, cy, cz = np.cos(np.radians([x_deg, y_deg, z_deg]))
    sx, sy, sz = np.sin(np.radians([x_deg, y_deg, z_deg]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def signed_axes() -> list[np.ndarray]:
    matrices = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            matrix[world, axis] = sign
        matrices.append(matrix)
    return matrices


def affine_of(directions: np.ndarray, spacing: tuple[float, float, float] = (0.8, 1.1, 2.5)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = (-31.5, 12.25, 7.0)
    return affine


@pytest.mark.parametrize("tilt", [(0, 0, 0), (11, -7, 17)], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    "axes", signed_axes(), ids=lambda m: "".join("LRPAIS"[2 * int(np.abs(c).argmax()) + int(c.sum() > 0)] for c in m.T)
)
def test_reorientation_agrees_with_nibabel_and_inverts(axes: np.ndarray, tilt: tuple[float, float, float]) -> None:
    grid = Grid(SHAPE, affine_of(rotation(*tilt) @ axes))
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    turn = reorientation_to_ras(grid.affine)
    ras, ras_grid = turn.apply(array), turn.apply_grid(grid)

    theirs = ornt_transform(io_orientation(grid.affine), axcodes2ornt("RAS"))
    np.testing.assert_array_equal(ras, apply_orientation(array, theirs))
    expected = nibabel.Nifti1Image(array, grid.affine).as_reoriented(theirs).affine
    np.testing.assert_allclose(ras_grid.affine, expected, atol=1e-9)
    assert grid.orientation == "".join(nibabel.aff2axcodes(grid.affine))
    assert ras_grid.orientation == "RAS"
    np.testing.assert_array_equal(turn.invert(ras), array)
    batch = np.stack([array, array + 1])
    np.testing.assert_array_equal(turn.invert(turn.apply(batch)), batch)
    assert Reorientation.from_dict(turn.to_dict()) == turn


def test_a_voxel_keeps_its_place_in_the_patient() -> None:
    grid = Grid(SHAPE, affine_of(rotation(20, 10, -30) @ signed_axes()[37]))
    array = np.zeros(SHAPE)
    array[1, 5, 2] = 1
    turn = reorientation_to_ras(grid.affine)
    where = np.argwhere(turn.apply(array))[0]
    here = grid.affine @ (1, 5, 2, 1)
    np.testing.assert_allclose(turn.apply_grid(grid).affine @ (*where, 1), here, atol=1e-9)


def test_resampled_grid_has_the_exact_spacing_and_the_same_centre() -> None:
    grid = Grid((41, 23, 17), affine_of(rotation(3, 5, 7)))
    finer = resampled_grid(grid, (0.5, 1.1, 4.0))
    assert finer.spacing_mm == pytest.approx((0.5, 1.1, 4.0), abs=1e-7)
    assert finer.shape == (66, 23, 11)
    centre = (*((np.array(g.shape) - 1) / 2 for g in (grid, finer)),)
    np.testing.assert_allclose(grid.affine @ (*centre[0], 1), finer.affine @ (*centre[1], 1), atol=1e-9)
    for scale, offset in axis_map(grid, finer)[1:2]:
        assert (scale, offset) == (1.0, 0.0)


def test_equal_spacing_is_left_alone_to_the_object() -> None:
    grid = Grid(SHAPE, affine_of(np.eye(3)))
    assert resampled_grid(grid, (0.8, 1.1, 2.5)) is grid
    assert resampled_grid(grid, (0.8 * (1 + 5e-5), 1.1, 2.5)) is grid
    assert resampled_grid(grid, (0.8 * (1 + 2e-4), 1.1, 2.5)) is not grid


def test_a_single_slice_stays_one_slice_or_becomes_several() -> None:
    grid = Grid((8, 9, 1), affine_of(np.eye(3), (1.0, 1.0, 6.0)))
    assert resampled_grid(grid, (1.0, 1.0, 60.0)).shape == (8, 9, 1)
    assert resampled_grid(grid, (1.0, 1.0, 2.0)).shape == (8, 9, 3)


def test_axis_map_refuses_grids_that_are_not_parallel() -> None:
    grid = Grid(SHAPE, affine_of(np.eye(3)))
    turned = Grid(SHAPE, affine_of(rotation(0, 0, 10)))
    with pytest.raises(GeometryError, match="parallel axes"):
        axis_map(grid, turned)


@pytest.mark.parametrize("affine", [np.diag([1.0, 1.0, 0.0, 1.0]), np.full((4, 4), np.nan), np.eye(3)])
def test_impossible_affines_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="affine"):
        Grid(SHAPE, affine)


def test_shear_is_refused_and_rounding_is_not() -> None:
    sheared = affine_of(np.eye(3))
    sheared[0, 1] = 0.3
    with pytest.raises(GeometryError, match="sheared"):
        Grid(SHAPE, sheared)
    rounded = affine_of(rotation(11, 23, 5)).round(4)
    assert Grid(SHAPE, rounded).spacing_mm == pytest.approx((0.8, 1.1, 2.5), abs=1e-3)


def test_distance_between_grids() -> None:
    grid = Grid(SHAPE, affine_of(np.eye(3)))
    moved = grid.affine.copy()
    moved[0, 3] += 0.3
    other = Grid(SHAPE, moved)
    assert grid.max_distance_mm(other) == pytest.approx(0.3)
    assert not grid.allclose(other)
    assert grid.allclose(other, atol_mm=0.31)
    assert Grid.from_dict(other.to_dict()).allclose(other, 0)
