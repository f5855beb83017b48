"""MONAI's MedNeXt: depthwise convolutions and wide 1 x 1 x 1 layers, as in transformers, in a U-Net.

Roy et al. 2023, https://arxiv.org/abs/2303.09975. Kernel 3 is what the authors train first; their kernel 5 starts from
its weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.mednext import MedNeXt
from torch import Tensor, nn

Triple = tuple[int, int, int]


class DeepMedNeXt(MedNeXt):
    """MONAI's MedNeXt that computes as many supervised heads as are wanted, finest first, and in training alone."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (B, classes, x, y, z); in training mode with deep supervision a list of them, finest first."""
        x = self.stem(x)
        skips = []
        for stage, down in zip(self.enc_stages, self.down_blocks, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x = self.bottleneck(x)
        # `out_blocks` are the heads below the finest, the coarsest first
        heads = dict(zip(range(len(self.out_blocks), 0, -1), self.out_blocks, strict=True))
        found: list[Tensor] = []
        for up, stage in zip(self.up_blocks, self.dec_stages, strict=True):
            if self.training and len(skips) in heads:
                found.insert(0, heads[len(skips)](x))
            x = stage(up(x) + skips.pop())
        finest: Tensor = self.out_0(x)
        return [finest, *found] if found else finest


def mednext(
    in_channels: int,
    out_channels: int,
    *,
    filters: int = 32,
    blocks: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2, 2),
    expansion: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2, 2),
    kernel: int = 3,
    deep_supervision: int = 4,
) -> DeepMedNeXt:
    """MedNeXt; every axis is halved at each level whatever the spacing.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        filters: channels at full resolution, doubled at each level.
        blocks: of each stage: down, the bottleneck in the middle, and up.
        expansion: how many times wider a block is inside, of each stage.
        kernel: side of the depthwise kernels, odd.
        deep_supervision: supervised levels below the finest, cut to what the depth allows.

    Raises:
        ValueError: blocks and expansion are not equally many, or even in number.
    """
    middle = len(blocks) // 2
    if len(blocks) != len(expansion) or len(blocks) % 2 == 0:
        raise ValueError(f"blocks and expansion: expected equally many, 2 x levels + 1, found {blocks}, {expansion}")
    network = DeepMedNeXt(
        spatial_dims=3,
        init_filters=filters,
        in_channels=in_channels,
        out_channels=out_channels,
        encoder_expansion_ratio=expansion[:middle],
        bottleneck_expansion_ratio=expansion[middle],
        decoder_expansion_ratio=expansion[middle + 1 :],
        kernel_size=kernel,
        deep_supervision=True,
        use_residual_connection=True,
        blocks_down=blocks[:middle],
        blocks_bottleneck=blocks[middle],
        blocks_up=blocks[middle + 1 :],
        norm_type="group",
    )
    network.out_blocks = nn.ModuleList(list(network.out_blocks)[max(0, middle - deep_supervision) :])
    return network


def _stride_multiple(blocks: Sequence[int] = (2,) * 9, **_: object) -> Triple:
    side = 2 ** (len(blocks) // 2)
    return side, side, side


mednext.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
