"""A U-Net whose kernels and strides follow from patch size and spacing, after nnU-Net's rule.

Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z, supplementary note on network topology.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor

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
    not already more than twice as large as the finest. An axis whose voxels are more than twice as large as the finest
    gets kernel 1 until the finer axes have caught up.

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
        kernel = [1 if not stuck[axis] and s > ANISOTROPY * min(mm) else 3 for axis, s in enumerate(mm)]
        stuck = [k == 3 for k in kernel]  # an axis that has had kernel 3 keeps it
        kernels.append((kernel[0], kernel[1], kernel[2]))
        large = [n >= 2 * min_feature_vox for n in size]
        finest = min((s for s, wide in zip(mm, large, strict=True) if wide), default=0.0)
        step = [2 if wide and s < ANISOTROPY * finest else 1 for s, wide in zip(mm, large, strict=True)]
        if len(kernels) >= max_levels or step == [1, 1, 1]:
            return Topology(tuple(kernels), tuple(strides))
        strides.append((step[0], step[1], step[2]))
        size = [n / s for n, s in zip(size, step, strict=True)]
        mm = [m * s for m, s in zip(mm, step, strict=True)]


class DeepDynUNet(DynUNet):
    """MONAI's DynUNet whose training output is a list of heads at their own resolution, finest first.

    Upstream enlarges every head to full size and stacks them, which costs memory and time for nothing: the loss
    shrinks the reference instead.
    """

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (B, classes, x, y, z); in training mode with deep supervision a list of them, finest first."""
        finest: Tensor = self.output_block(self.skip_layers(x))
        if self.training and self.deep_supervision:
            return [finest, *self.heads]
        return finest


def dynunet(
    in_channels: int,
    out_channels: int,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    *,
    filters: int = 32,
    max_filters: int = 320,
    max_levels: int = 6,
    min_feature_vox: int = 4,
    deep_supervision: int = 2,
    res_block: bool = False,
    dropout: float = 0.0,
) -> DeepDynUNet:
    """U-Net for patches of `patch_size` voxels at `spacing` mm.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        patch_size: (x, y, z) voxels.
        spacing: (x, y, z) mm.
        filters: channels at full resolution, doubled at each level.
        max_filters: limit of the doubling.
        max_levels: limit of the depth.
        min_feature_vox: smallest side of the coarsest feature map.
        deep_supervision: supervised levels below the finest, 0 switches it off; cut to what the depth allows.
        res_block: residual blocks instead of plain ones.
        dropout: probability, 0 for none.

    Raises:
        ConfigError: the patch is too small for a U-Net of three levels.
    """
    plan = topology(patch_size, spacing, max_levels, min_feature_vox)
    levels = len(plan.strides)
    if levels < 3:
        raise ConfigError(
            f"patch_size: {list(patch_size)} at spacing {list(spacing)} allows {levels} levels, expected at least 3;"
            f" enlarge the patch to at least {4 * min_feature_vox} voxels or raise model.max_levels"
        )
    heads = min(deep_supervision, levels - 2)
    network = DeepDynUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=plan.kernels,
        strides=plan.strides,
        upsample_kernel_size=plan.strides[1:],
        filters=[min(filters * 2**level, max_filters) for level in range(levels)],
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=heads > 0,
        deep_supr_num=max(heads, 1),
        res_block=res_block,
        dropout=dropout or None,
    )
    network.heads[:] = [torch.empty(0)] * len(network.heads)
    return network


def _stride_multiple(
    patch_size: Sequence[int],
    spacing: Sequence[float],
    max_levels: int = 6,
    min_feature_vox: int = 4,
    **_: object,
) -> Triple:
    return topology(patch_size, spacing, max_levels, min_feature_vox).multiple


dynunet.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
