"""Voxel grids in physical space: orientation, reorientation to RAS, and grids of another spacing.

Arrays are indexed (x, y, z). An affine is a (4, 4) matrix that takes voxel indices to millimetres in the RAS+ frame
(x to the patient's right, y to the front, z to the head), the convention of NIfTI. docs/geometry.md teaches it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fran.errors import GeometryError

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]
ScalarT = TypeVar("ScalarT", bound=np.generic)

_CODES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels.

    Args:
        shape: voxels along each array axis.
        affine: (4, 4), voxel index to millimetres, RAS+. Its three direction vectors must be orthogonal to one
            another to 1e-3 (as a cosine); a sheared affine raises `GeometryError`.

    Example:
        >>> grid = Grid((4, 5, 6), np.diag([-0.8, 0.8, 1.5, 1.0]))
        >>> grid.spacing_mm, grid.orientation
        ((0.8, 0.8, 1.5), 'LAS')
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"affine: expected a finite (4, 4) matrix, found {affine.tolist()}")
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"shape: expected three positive sizes, found {shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", shape)
        _check_orthogonal(affine)

    @property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centres along each array axis."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        # float32 headers give 0.800000011920929: eight digits are far below any scanner's precision
        x, y, z = (float(f"{length:.8g}") for length in lengths)
        return x, y, z

    @property
    def orientation(self) -> str:
        """Anatomical direction in which each array axis grows, such as ``"RAS"`` or ``"LPS"``."""
        axes, signs = _nearest_axes(self.affine)
        return "".join(_CODES[axes[i]][int(signs[i] > 0)] for i in range(3))

    def allclose(self, other: Grid, atol_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and no corner differs by more than `atol_mm`."""
        return self.shape == other.shape and self.max_distance_mm(other) <= atol_mm

    def max_distance_mm(self, other: Grid) -> float:
        """Largest distance between matching corners of two grids of one shape."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
        return float(np.linalg.norm(((self.affine - other.affine) @ homogeneous)[:3], axis=0).max())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; `from_dict` turns it back without loss."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Grid:
        """Inverse of `to_dict`."""
        x, y, z = stored["shape"]
        return cls((x, y, z), np.array(stored["affine"], dtype=np.float64))

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.shape)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing_mm)
        return f"{size} voxels of {spacing} mm, {self.orientation}, origin {np.round(self.affine[:3, 3], 3).tolist()}"


@dataclass(frozen=True)
class Reorientation:
    """Axis permutation and flips that turn an array to RAS+. Nothing is interpolated, so it inverts exactly.

    Attributes:
        axes: ``axes[i]`` is the source axis that becomes RAS axis ``i``.
        flips: whether RAS axis ``i`` runs against its source axis.
    """

    axes: Shape
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """View of `array` (…, i, j, k) with its last three axes in RAS+ order."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return turned[(..., *self._slices())]

    def invert(self, array: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """View of a RAS+ `array` (…, x, y, z) with its last three axes in the source's order."""
        lead = array.ndim - 3
        back = np.argsort(self.axes)
        return array[(..., *self._slices())].transpose(*range(lead), *(lead + int(axis) for axis in back))

    def apply_grid(self, grid: Grid) -> Grid:
        """The RAS+ grid whose voxels are those of `grid`."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for new_axis, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            matrix[axis, new_axis] = -1.0 if flip else 1.0
            matrix[axis, 3] = grid.shape[axis] - 1 if flip else 0.0
        a, b, c = self.axes
        return Grid((grid.shape[a], grid.shape[b], grid.shape[c]), grid.affine @ matrix)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"axes": list(self.axes), "flips": list(self.flips)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Reorientation:
        """Inverse of `to_dict`."""
        a, b, c = stored["axes"]
        f, g, h = stored["flips"]
        return cls((a, b, c), (f, g, h))

    def _slices(self) -> tuple[slice, slice, slice]:
        x, y, z = (slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return x, y, z


def reorientation_to_ras(affine: ArrayLike) -> Reorientation:
    """The reorientation that brings a grid's axes as close to RAS+ as 48 axis orders allow; obliqueness stays."""
    axes, signs = _nearest_axes(np.asarray(affine, dtype=np.float64))
    a, b, c = (int(axes.index(world)) for world in range(3))
    return Reorientation((a, b, c), (bool(signs[a] < 0), bool(signs[b] < 0), bool(signs[c] < 0)))


def resampled_grid(grid: Grid, spacing_mm: Sequence[float]) -> Grid:
    """A grid of exactly `spacing_mm` with the axes and the centre of `grid`.

    The shape is ``max(1, round(size * old / new))``, so each side of the field of view moves by at most a quarter of
    a new voxel. Axes whose spacing differs by less than 1e-4 of it are left alone, and if all three are, `grid` itself
    is returned: data already at the asked spacing are never interpolated.
    """
    target = np.asarray(spacing_mm, dtype=np.float64)
    if target.shape != (3,) or not (target > 0).all():
        raise GeometryError(f"spacing: expected three positive numbers in mm (x, y, z), found {list(spacing_mm)}")
    current = np.linalg.norm(grid.affine[:3, :3], axis=0)
    target = np.where(np.abs(target - current) <= 1e-4 * current, current, target)
    if (target == current).all():
        return grid
    size = np.array(grid.shape)
    new_size = np.maximum(1, np.round(size * current / target)).astype(int)
    matrix = np.diag([*(target / current), 1.0])
    matrix[:3, 3] = (size - 1) / 2 - (target / current) * (new_size - 1) / 2
    x, y, z = (int(n) for n in new_size)
    return Grid((x, y, z), grid.affine @ matrix)


def resized_grid(grid: Grid, shape: Shape) -> Grid:
    """A grid of another shape with the axes and the field of view of `grid`."""
    size, new = np.array(grid.shape), np.array(shape)
    matrix = np.diag([*(size / new), 1.0])
    matrix[:3, 3] = (size / new - 1) / 2
    return Grid(shape, grid.affine @ matrix)


def sub_grid(grid: Grid, low: Shape, high: Shape) -> Grid:
    """The voxels `low` to one before `high` of a grid; the box may leave it."""
    matrix = np.eye(4)
    matrix[:3, 3] = low
    x, y, z = (b - a for a, b in zip(low, high, strict=True))
    return Grid((x, y, z), grid.affine @ matrix)


def axis_map(src: Grid, dst: Grid) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Per axis ``(scale, offset)`` with ``src_index = scale * dst_index + offset``.

    Raises:
        GeometryError: the grids' axes are not parallel, so no per-axis map exists.
    """
    matrix = np.linalg.solve(src.affine, dst.affine)
    scale = np.diag(matrix)[:3]
    stray = matrix[:3, :3] - np.diag(scale)
    if np.abs(stray * (np.array(dst.shape) - 1)).max() > 1e-2 or (scale <= 0).any():
        raise GeometryError(f"grids: expected parallel axes, found {src} and {dst}; reorient both to RAS first")
    offset = matrix[:3, 3]
    # rounding removes the noise of the matrix product, so that equal grids give exactly (1, 0)
    x, y, z = ((float(round(s, 10)), float(round(o, 9)) + 0.0) for s, o in zip(scale, offset, strict=True))
    return x, y, z


def _nearest_axes(affine: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """For each array axis the world axis it lies along, and the sign.

    The assignment maximises the sum of cosines over all six permutations, so that a strongly oblique volume never
    gets one world axis twice.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: sum(round(abs(float(directions[p[i], i])), 6) for i in range(3)))
    signs = np.array([directions[best[i], i] for i in range(3)])
    return best, signs


def _check_orthogonal(affine: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths <= 0).any():
        raise GeometryError(f"affine: expected three axes of positive length, found lengths {lengths.tolist()} mm")
    directions = affine[:3, :3] / lengths
    worst = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if worst > 1e-3:
        raise GeometryError(
            f"affine: expected orthogonal axes, found a cosine of {worst:.4f} between two of them (a sheared affine); "
            "resample the file to an orthogonal grid first"
        )
