"""Label maps of another origin brought to a case's grid: outside what they cover is background."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import GeometryError
from fran.geometry import Grid, axis_map, sub_grid
from fran.preprocessing.resampling import resample_labels


def place_labels(lm: NDArray[Any], src: Grid, dst: Grid) -> NDArray[Any]:
    """Resample a label map to any grid.

    Grids with parallel axes are resampled by the largest share of a label, as a case's own label map is. Otherwise each
    voxel takes the value of the nearest one.

    Args:
        lm: (x, y, z) unsigned integers on ``src``.
        src: grid of the label map, RAS+.
        dst: wanted grid, RAS+.

    Returns:
        same dtype on ``dst``; 0 at voxels whose centre lies outside ``src``.
    """
    try:
        maps = axis_map(src, dst)
    except GeometryError:
        return _nearest(lm, src, dst)
    ends = [_inside(*axis) for axis in zip(maps, src.shape, dst.shape, strict=True)]
    out = np.zeros(dst.shape, lm.dtype)
    if all(a < b for a, b in ends):
        (x0, x1), (y0, y1), (z0, z1) = ends
        out[x0:x1, y0:y1, z0:z1] = resample_labels(lm, src, sub_grid(dst, (x0, y0, z0), (x1, y1, z1)))
    return out


def _inside(to_src: tuple[float, float], n_src: int, n_dst: int) -> tuple[int, int]:
    """Destination voxels on one axis whose centres lie between the source's outer edges."""
    scale, offset = to_src
    low, high = (-0.5 - offset) / scale, (n_src - 0.5 - offset) / scale
    return max(0, math.ceil(low - 1e-6)), min(n_dst, math.floor(high + 1e-6) + 1)


def _nearest(lm: NDArray[Any], src: Grid, dst: Grid) -> NDArray[Any]:
    """Slice by slice along x, so that the coordinates of a whole volume are never in memory."""
    matrix = np.linalg.solve(src.affine, dst.affine)
    y, z = np.meshgrid(np.arange(dst.shape[1]), np.arange(dst.shape[2]), indexing="ij")
    out = np.zeros(dst.shape, lm.dtype)
    for x in range(dst.shape[0]):
        place = np.stack([np.full_like(y, x), y, z, np.ones_like(y)]).reshape(4, -1)
        voxels = np.rint((matrix @ place)[:3]).astype(np.intp)
        within = ((voxels >= 0) & (voxels < np.array(src.shape)[:, None])).all(axis=0)
        plane = np.zeros(y.size, lm.dtype)
        plane[within] = lm[tuple(voxels[:, within])]
        out[x] = plane.reshape(y.shape)
    return out
