"""Rotation, zoom and shift of a batch by one resampling, in millimetres.

Coordinates are centred on the patch: `mm = spacing * (voxel - (n - 1) / 2)`, so a rotation is rigid whatever the
anisotropy. The grid goes to `torch.nn.functional.grid_sample` (align_corners=False), which wants (z, y, x) order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def rotation_matrix(angles_rad: Tensor) -> Tensor:
    """(B, 3, 3) rotations about x, then y, then z by (B, 3) angles, right-handed."""
    cos, sin = angles_rad.cos(), angles_rad.sin()
    one, nil = torch.ones_like(cos[:, 0]), torch.zeros_like(cos[:, 0])

    def stack(*rows: Tensor) -> Tensor:
        return torch.stack(rows, dim=1).view(-1, 3, 3)

    about_x = stack(one, nil, nil, nil, cos[:, 0], -sin[:, 0], nil, sin[:, 0], cos[:, 0])
    about_y = stack(cos[:, 1], nil, sin[:, 1], nil, one, nil, -sin[:, 1], nil, cos[:, 1])
    about_z = stack(cos[:, 2], -sin[:, 2], nil, sin[:, 2], cos[:, 2], nil, nil, nil, one)
    return about_z @ about_y @ about_x


def allowed_angles(rotation_deg: list[float], spacing_mm: tuple[float, float, float], in_plane_above: float) -> Tensor:
    """(3,) largest angles in radians; on strongly anisotropic spacing only about the thick axis."""
    angles = torch.tensor([math.radians(a) for a in rotation_deg])
    thick = max(range(3), key=lambda axis: spacing_mm[axis])
    if spacing_mm[thick] > in_plane_above * min(spacing_mm):
        keep = torch.zeros(3)
        keep[thick] = 1
        return angles * keep
    return angles


def resampling_grid(matrix_mm: Tensor, shift_mm: Tensor, size: torch.Size, spacing_mm: tuple[float, ...]) -> Tensor:
    """Sampling grid (B, x, y, z, 3) that moves the image content by `matrix_mm` then `shift_mm`.

    Args:
        matrix_mm: (B, 3, 3) transform of the content about the patch centre, mm to mm.
        shift_mm: (B, 3) movement of the content.
        size: (x, y, z) voxels.
        spacing_mm: (x, y, z).
    """
    half = torch.tensor([n * s / 2 for n, s in zip(size, spacing_mm, strict=True)], device=matrix_mm.device)
    inverse = torch.linalg.inv(matrix_mm)
    linear = inverse * half / half[:, None]
    offset = -(inverse @ shift_mm[..., None])[..., 0] / half
    theta = torch.cat([linear.flip(1, 2), offset.flip(1)[..., None]], dim=2)
    return functional.affine_grid(theta, [len(theta), 1, *size], align_corners=False)


def resample(image: Tensor, lm: Tensor, grid: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Image bilinear, label map nearest, on one grid.

    Args:
        image: (B, C, x, y, z) float.
        lm: (B, 1, x, y, z) integer channel indices; outside becomes 0.
        grid: from `resampling_grid`.
        floor: (B,) value of the image outside.
    """
    fill = floor.to(image).view(-1, 1, 1, 1, 1)
    moved = functional.grid_sample(image - fill, grid, "bilinear", "zeros", align_corners=False).add_(fill)
    labels = functional.grid_sample(lm.float(), grid, "nearest", "zeros", align_corners=False)
    return moved, labels.to(lm.dtype)
