"""U-Nets of fran's own: a plain one and one with a residual encoder, with kernels and strides as in nnU-Net.

Both follow Isensee et al.: the plain network 2021 (https://doi.org/10.1038/s41592-020-01008-z), the residual encoder
2024 (https://arxiv.org/abs/2404.09556).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from fran.networks.norm import InstanceNorm3d
from fran.networks.topology import Topology, Triple, deep_enough, topology

SLOPE = 0.01
#: Residual blocks of each level; deeper levels have as many as the last.
BLOCKS = (1, 3, 4, 6, 6, 6)


@dataclass(frozen=True)
class Convolutions:
    """What all convolutions of a network have in common.

    Attributes:
        dropout: probability that a channel is dropped, 0 for none.
        bias: of the convolution; the normalisation that follows takes it out again, so it only costs.
    """

    dropout: float = 0.0
    bias: bool = False

    def __call__(
        self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1), *, act: bool = True
    ) -> nn.Sequential:
        """Convolution, dropout, instance normalisation and, unless told otherwise, leaky ReLU."""
        x, y, z = (k // 2 for k in kernel)
        block = nn.Sequential()
        block.add_module("conv", nn.Conv3d(in_channels, out_channels, kernel, stride, (x, y, z), bias=self.bias))
        if self.dropout:
            block.add_module("dropout", nn.Dropout3d(self.dropout))
        block.add_module("norm", InstanceNorm3d(out_channels, affine=True))
        if act:
            block.add_module("act", nn.LeakyReLU(SLOPE, inplace=True))
        return block


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which shrinks by the mean and changes channels by a 1 x 1 x 1 convolution."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple, convolution: Convolutions
    ) -> None:
        super().__init__()
        self.first = convolution(in_channels, out_channels, kernel, stride)
        self.second = convolution(out_channels, out_channels, kernel, act=False)
        self.shortcut = nn.Sequential()
        if max(stride) > 1:
            self.shortcut.add_module("shrink", nn.AvgPool3d(stride, stride))
        if in_channels != out_channels:
            plain = Convolutions(bias=False)
            self.shortcut.add_module("project", plain(in_channels, out_channels, (1, 1, 1), act=False))
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def begin_as_shortcut(self) -> None:
        """Weights with which the convolutions add nothing yet."""
        last = self.second[-1]
        assert isinstance(last, InstanceNorm3d)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, x, y, z) to (B, out, x / stride, ...)."""
        total = self.second(self.first(x)) + self.shortcut(x)
        activated: Tensor = self.act(total)
        return activated


class UpStage(nn.Module):
    """Enlarge the coarser features, lay the encoder's beside them, convolve."""

    def __init__(
        self, coarse: int, fine: int, kernel: Triple, stride: Triple, convs: int, convolution: Convolutions
    ) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(coarse, fine, stride, stride, bias=convolution.bias)
        self.convs = nn.Sequential(*(convolution(fine * (1 + (n == 0)), fine, kernel) for n in range(convs)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Features at the resolution of `skip`."""
        fused: Tensor = self.convs(torch.cat((self.up(x), skip), dim=1))
        return fused


class UNet(nn.Module):
    """Encoder, decoder and supervised heads.

    Args:
        encoder: one module a level, the finest first.
        channels: features that each of them puts out.
        plan: kernels and strides of the levels.
        out_channels: classes, background included.
        deep_supervision: supervised levels below the finest.
        convs_up: convolutions of each level of the decoder.
        convolution: what all convolutions have in common.
    """

    def __init__(
        self,
        encoder: Sequence[nn.Module],
        channels: Sequence[int],
        plan: Topology,
        out_channels: int,
        deep_supervision: int,
        convs_up: int,
        convolution: Convolutions,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        levels = [*enumerate(pairwise(channels))]
        self.decoder = nn.ModuleList(
            UpStage(coarse, fine, plan.kernels[n], plan.strides[n + 1], convs_up, convolution)
            for n, (fine, coarse) in reversed(levels)
        )
        heads = 1 + min(deep_supervision, len(channels) - 2)
        self.heads = nn.ModuleList(nn.Conv3d(channels[level], out_channels, 1) for level in range(heads))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (B, classes, x, y, z); in training mode with deep supervision a list of them, finest first."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        x = skips.pop()
        supervised = len(self.heads) if self.training else 1
        found: list[Tensor] = []
        for stage in self.decoder:
            x = stage(x, skips.pop())
            if len(skips) < supervised:
                found.insert(0, self.heads[len(skips)](x))
        return found if len(found) > 1 else found[0]


def unet(
    in_channels: int,
    out_channels: int,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    *,
    filters: int = 32,
    max_filters: int = 320,
    max_levels: int = 6,
    min_feature_vox: int = 4,
    convs: int = 2,
    deep_supervision: int = 2,
    dropout: float = 0.0,
    conv_bias: bool = False,
) -> UNet:
    """Plain U-Net for patches of `patch_size` voxels at `spacing` mm.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        patch_size: (x, y, z) voxels.
        spacing: (x, y, z) mm.
        filters: channels at full resolution, doubled at each level.
        max_filters: limit of the doubling.
        max_levels: limit of the depth.
        min_feature_vox: smallest side of the coarsest feature map.
        convs: convolutions of each level, down and up.
        deep_supervision: supervised levels below the finest; cut to what the depth allows.
        dropout: probability that a channel is dropped, 0 for none.
        conv_bias: biases before the normalisation, which cancels them; nnU-Net has them.

    Raises:
        ConfigError: the patch is too small for a U-Net of three levels.
    """
    plan = deep_enough(topology(patch_size, spacing, max_levels, min_feature_vox), patch_size, spacing, min_feature_vox)
    channels = _channels(filters, max_filters, plan)
    convolution = Convolutions(dropout, conv_bias)
    encoder = []
    for n, (before, after) in enumerate(pairwise([in_channels, *channels])):
        first = convolution(before, after, plan.kernels[n], plan.strides[n])
        others = (convolution(after, after, plan.kernels[n]) for _ in range(convs - 1))
        encoder.append(nn.Sequential(first, *others))
    return UNet(encoder, channels, plan, out_channels, deep_supervision, convs, convolution)


def resunet(
    in_channels: int,
    out_channels: int,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    *,
    filters: int = 32,
    max_filters: int = 320,
    max_levels: int = 6,
    min_feature_vox: int = 4,
    blocks: Sequence[int] = BLOCKS,
    convs_up: int = 1,
    deep_supervision: int = 2,
    dropout: float = 0.0,
) -> UNet:
    """U-Net with a residual encoder for patches of `patch_size` voxels at `spacing` mm.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        patch_size: (x, y, z) voxels.
        spacing: (x, y, z) mm.
        filters: channels at full resolution, doubled at each level.
        max_filters: limit of the doubling.
        max_levels: limit of the depth.
        min_feature_vox: smallest side of the coarsest feature map.
        blocks: residual blocks of each level, the finest first; the last holds for all deeper ones.
        convs_up: convolutions of each level of the decoder.
        deep_supervision: supervised levels below the finest; cut to what the depth allows.
        dropout: probability that a channel is dropped, 0 for none.

    Raises:
        ConfigError: the patch is too small for a U-Net of three levels.
    """
    plan = deep_enough(topology(patch_size, spacing, max_levels, min_feature_vox), patch_size, spacing, min_feature_vox)
    channels = _channels(filters, max_filters, plan)
    convolution = Convolutions(dropout)
    encoder = []
    for n, (before, after) in enumerate(pairwise([channels[0], *channels])):
        kernel, stride = plan.kernels[n], plan.strides[n]
        stage = nn.Sequential(ResidualBlock(before, after, kernel, stride, convolution))
        for _ in range(blocks[min(n, len(blocks) - 1)] - 1):
            stage.append(ResidualBlock(after, after, kernel, (1, 1, 1), convolution))
        encoder.append(stage)
    encoder[0].insert(0, convolution(in_channels, channels[0], plan.kernels[0]))
    network = UNet(encoder, channels, plan, out_channels, deep_supervision, convs_up, convolution)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.begin_as_shortcut()
    return network


def _channels(filters: int, max_filters: int, plan: Topology) -> list[int]:
    return [min(filters * 2**level, max_filters) for level in range(len(plan.strides))]


def _initialise(module: nn.Module) -> None:
    """He et al. 2015 (https://arxiv.org/abs/1502.01852), as nnU-Net."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _stride_multiple(
    patch_size: Sequence[int], spacing: Sequence[float], max_levels: int = 6, min_feature_vox: int = 4, **_: object
) -> Triple:
    return topology(patch_size, spacing, max_levels, min_feature_vox).multiple


unet.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
resunet.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
