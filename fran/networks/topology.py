"""Kernels and strides that follow from patch size and spacing. Plain arithmetic: no torch is imported.

The rule of `topology` is nnU-Net's: Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z, supplementary note
on network topology.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log2

from fran.errors import ConfigError

Triple = tuple[int, int, int]
ANISOTROPY = 2.0


@dataclass(frozen=True)
class Topology:
    """Kernel and stride of each level; the first stride is 1."""

    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]

    @property
    def multiple(self) -> Triple:
        """Product of the strides per axis: a patch must be a multiple of it."""
        total = [1, 1, 1]
        for stride in self.strides:
            total = [a * b for a, b in zip(total, stride, strict=True)]
        return total[0], total[1], total[2]


def topology(
    patch_size: Sequence[int], spacing: Sequence[float], max_levels: int = 6, min_feature_vox: int = 4
) -> Topology:
    """Kernels and strides for a patch.

    At each level an axis is halved when its feature map would keep at least `min_feature_vox` voxels and its voxels are
    less than twice as large as the finest; one axis alone is halved only from three times `min_feature_vox` voxels on.
    An axis whose voxels are twice as large as the finest, or more, gets kernel 1 until the finer axes have caught up;
    the coarsest level has kernel 3 along every axis.

    Args:
        patch_size: (x, y, z) voxels.
        spacing: (x, y, z) mm.
        max_levels: levels including the full resolution.
        min_feature_vox: smallest side of a feature map.

    Example:
        >>> topology((64, 64, 16), (0.8, 0.8, 4.0), max_levels=3).strides
        ((1, 1, 1), (2, 2, 1), (2, 2, 1))
    """
    size, mm = [float(n) for n in patch_size], [float(s) for s in spacing]
    kernels: list[Triple] = []
    strides: list[Triple] = [(1, 1, 1)]
    stuck = [False] * 3
    while True:
        # an axis that has had kernel 3 keeps it
        stuck = [had or s < ANISOTROPY * min(mm) for had, s in zip(stuck, mm, strict=True)]
        step = _step(size, mm, min_feature_vox)
        if len(strides) >= max_levels or step == [1, 1, 1]:
            return Topology((*kernels, (3, 3, 3)), tuple(strides))
        kernel = [3 if had else 1 for had in stuck]
        kernels.append((kernel[0], kernel[1], kernel[2]))
        strides.append((step[0], step[1], step[2]))
        size = [n / s for n, s in zip(size, step, strict=True)]
        mm = [m * s for m, s in zip(mm, step, strict=True)]


def _step(size: Sequence[float], mm: Sequence[float], min_feature_vox: int) -> list[int]:
    """By how much each axis shrinks to the next level."""
    large = [n >= 2 * min_feature_vox for n in size]
    finest = min((s for s, wide in zip(mm, large, strict=True) if wide), default=0.0)
    step = [2 if wide and s < ANISOTROPY * finest else 1 for s, wide in zip(mm, large, strict=True)]
    if step.count(2) == 1 and size[step.index(2)] < 3 * min_feature_vox:
        return [1, 1, 1]
    return step


def deep_enough(plan: Topology, patch_size: Sequence[int], spacing: Sequence[float], min_feature_vox: int) -> Topology:
    """`plan`, where it has at least the three levels that make a U-Net.

    Raises:
        ConfigError: it has fewer.
    """
    levels = len(plan.strides)
    if levels < 3:
        raise ConfigError(
            f"patch_size: {list(patch_size)} at spacing {list(spacing)} allows {levels} levels, expected at least 3;"
            f" enlarge the patch to at least {4 * min_feature_vox} voxels or raise model.max_levels"
        )
    return plan


def residual_multiple(spacing: Sequence[float], levels: int = 5) -> Triple:
    """Voxels along (x, y, z) of which a patch for MONAI's SegResNetDS must be a multiple.

    Each of its `levels` - 1 steps halves every axis, except that a coarse axis waits for the finer ones.

    Example:
        >>> residual_multiple((0.8, 0.8, 4.0))
        (16, 16, 4)
    """
    behind = [floor(log2(max(spacing) / s)) for s in spacing]
    together = max(0, levels - 1 - max(behind))
    x, y, z = (2 ** (min(n, levels - 1) + together) for n in behind)
    return x, y, z
