"""A U-Net whose kernels and strides follow from patch size and spacing, see `fran.networks.topology`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor

from fran.networks.norm import quicken_norms
from fran.networks.topology import Triple, deep_enough, topology


class DeepDynUNet(DynUNet):
    """MONAI's DynUNet whose training output is a list of heads at their own resolution, finest first.

    Upstream enlarges every head to full size and stacks them, which costs memory and time for nothing: the loss
    shrinks the reference instead.
    """

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (B, classes, x, y, z); in training mode with deep supervision a list of them, finest first."""
        finest: Tensor = self.output_block(self.skip_layers(x))
        if not (self.training and self.deep_supervision):
            return finest
        coarser = list(self.heads)
        # upstream's scratch list would keep the graph of this step alive, and a copy of the network impossible
        self.heads[:] = _empty(len(coarser))
        return [finest, *coarser]


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
    plan = deep_enough(topology(patch_size, spacing, max_levels, min_feature_vox), patch_size, spacing, min_feature_vox)
    levels = len(plan.strides)
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
    network.heads[:] = _empty(len(network.heads))
    quicken_norms(network)
    return network


def _empty(n: int) -> list[Tensor]:
    return [torch.empty(0) for _ in range(n)]


def _stride_multiple(
    patch_size: Sequence[int],
    spacing: Sequence[float],
    max_levels: int = 6,
    min_feature_vox: int = 4,
    **_: object,
) -> Triple:
    return topology(patch_size, spacing, max_levels, min_feature_vox).multiple


dynunet.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
