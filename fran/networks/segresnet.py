"""Residual U-Net with deep supervision: MONAI's SegResNetDS with the spacing as its resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.nets.segresnet_ds import SegResNetDS, scales_for_resolution
from torch import nn

from fran.networks.norm import quicken_norms

Triple = tuple[int, int, int]
BLOCKS_DOWN = (1, 2, 2, 4, 4)


class DeepSegResNetDS(SegResNetDS):
    """MONAI's SegResNetDS with plain numbers where it has NumPy's, at which torch.compile gives up.

    Args:
        factor: multiple (x, y, z) of a volume's sides, which MONAI works out in each forward pass.
        settings: of SegResNetDS.
    """

    def __init__(self, factor: Triple, **settings: Any) -> None:
        super().__init__(**settings)
        self.factor = factor
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                layer.stride = _plain(layer.stride)
                layer.output_padding = _plain(layer.output_padding)

    def shape_factor(self) -> list[int]:
        """What the sides (x, y, z) of a volume must be multiples of."""
        return list(self.factor)


def segresnet(
    in_channels: int,
    out_channels: int,
    spacing: Sequence[float],
    *,
    filters: int = 32,
    blocks_down: Sequence[int] = BLOCKS_DOWN,
    deep_supervision: int = 2,
    norm: str = "INSTANCE",
) -> DeepSegResNetDS:
    """SegResNetDS (Myronenko 2018, https://arxiv.org/abs/1810.11654) for voxels of `spacing` mm.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        spacing: (x, y, z) mm; coarse axes are halved later than fine ones.
        filters: channels at full resolution, doubled at each level.
        blocks_down: residual blocks per level; their number is the depth.
        deep_supervision: supervised levels below the finest, cut to what the depth allows.
        norm: name of MONAI's normalisation layer.
    """
    network = DeepSegResNetDS(
        _stride_multiple(spacing, blocks_down),
        spatial_dims=3,
        init_filters=filters,
        in_channels=in_channels,
        out_channels=out_channels,
        norm=norm,
        blocks_down=tuple(blocks_down),
        dsdepth=min(deep_supervision, len(blocks_down) - 2) + 1,
        resolution=tuple(float(s) for s in spacing),
    )
    quicken_norms(network)
    return network


def _plain(numbers: Sequence[int]) -> Triple:
    x, y, z = (int(number) for number in numbers)
    return x, y, z


def _stride_multiple(spacing: Sequence[float], blocks_down: Sequence[int] = BLOCKS_DOWN, **_: object) -> Triple:
    total = [1, 1, 1]
    for scale in scales_for_resolution(tuple(float(s) for s in spacing), len(blocks_down))[: len(blocks_down) - 1]:
        total = [a * int(b) for a, b in zip(total, scale, strict=True)]
    return total[0], total[1], total[2]


segresnet.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
