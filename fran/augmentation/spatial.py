"""Rotation, zoom, shear and shift of a patch as one affine map, in millimetres.

Coordinates are centred on the patch: `mm = spacing * (voxel - (n - 1) / 2)`, so a rotation is rigid whatever the
anisotropy. The content moves by `rotation @ shear * zoom`, then by the shift. Any affine map without mirroring is such
a product with zooms of its own along the axes (QR decomposition), so three shears are all there are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fran.augmentation.draws import Limits, Movement

Vox = tuple[int, int, int]
Mm = tuple[float, float, float]
Matrix = NDArray[np.float64]
_ROUNDING = 1e-6
SHEARED = ((0, 1), (0, 2), (1, 2))
"""Planes of the three shears: the first axis moves along the second."""


def limits(rotation_deg: list[float], shear_deg: list[float], spacing_mm: Mm, in_plane_above: float) -> Limits:
    """Largest angles and shears; on strongly anisotropic spacing only those within the plane of the finer axes.

    Example:
        >>> limits([0, 0, 90], [0, 0, 45], (1, 1, 5), in_plane_above=3).shear
        (0.0, 0.0, 0.0)
    """
    angles = [math.radians(a) for a in rotation_deg]
    shear = [math.tan(math.radians(a)) for a in shear_deg]
    thick = max(range(3), key=lambda axis: spacing_mm[axis])
    if spacing_mm[thick] > in_plane_above * min(spacing_mm):
        angles = [a if axis == thick else 0.0 for axis, a in enumerate(angles)]
        shear = [0.0 if thick in plane else a for plane, a in zip(SHEARED, shear, strict=True)]
    return Limits((angles[0], angles[1], angles[2]), (shear[0], shear[1], shear[2]))


def matrix_mm(movement: Movement) -> Matrix:
    """(3, 3) map of the content, mm to mm, without the shift; rotations are right-handed."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(movement.angles_rad), np.sin(movement.angles_rad)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    shear = np.eye(3)
    for plane, value in zip(SHEARED, movement.shear, strict=True):
        shear[plane] = value
    result: Matrix = about_z @ about_y @ about_x @ shear * movement.zoom
    return result


def pull_back(movement: Movement, size: Vox, spacing_mm: Mm) -> tuple[Matrix, Matrix]:
    """Where each voxel of the moved patch comes from: `source = matrix @ voxel + offset`, in voxels of the patch.

    Args:
        movement: of the content.
        size: (x, y, z) voxels of the patch.
        spacing_mm: (x, y, z).
    """
    spacing, centre = np.array(spacing_mm), (np.array(size) - 1) / 2
    inverse = np.linalg.inv(matrix_mm(movement))
    matrix = inverse * spacing / spacing[:, None]
    offset = centre - matrix @ centre - (inverse @ np.array(movement.shift_mm)) / spacing
    return matrix, offset


def reach(movement: Movement, size: Vox, spacing_mm: Mm) -> tuple[Vox, Vox]:
    """Voxels before and after the patch that moving it draws in, at least 0 on each side.

    Example:
        >>> reach(Movement(zoom=0.5), (8, 8, 4), (1, 1, 2))
        ((4, 4, 2), (4, 4, 2))
    """
    matrix, offset = pull_back(movement, size, spacing_mm)
    last = np.array(size) - 1.0
    # an affine map takes its extremes over a box at the corners, axis by axis
    lowest = offset + np.minimum(matrix * last, 0).sum(1)
    highest = offset + np.maximum(matrix * last, 0).sum(1)
    before = [max(0, -math.floor(v + _ROUNDING)) for v in lowest]
    after = [max(0, math.ceil(v - end - _ROUNDING)) for v, end in zip(highest, last, strict=True)]
    return (before[0], before[1], before[2]), (after[0], after[1], after[2])
