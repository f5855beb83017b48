"""Residual U-Net with deep supervision: MONAI's SegResNetDS with the spacing as its resolution."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.segresnet_ds import SegResNetDS, scales_for_resolution

from fran.networks.norm import quicken_norms

Triple = tuple[int, int, int]
BLOCKS_DOWN = (1, 2, 2, 4, 4)


def segresnet(
    in_channels: int,
    out_channels: int,
    spacing: Sequence[float],
    *,
    filters: int = 32,
    blocks_down: Sequence[int] = BLOCKS_DOWN,
    deep_supervision: int = 2,
    norm: str = "INSTANCE",
) -> SegResNetDS:
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
    network = SegResNetDS(
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


def _stride_multiple(spacing: Sequence[float], blocks_down: Sequence[int] = BLOCKS_DOWN, **_: object) -> Triple:
    total = [1, 1, 1]
    for scale in scales_for_resolution(tuple(float(s) for s in spacing), len(blocks_down))[: len(blocks_down) - 1]:
        total = [a * int(b) for a, b in zip(total, scale, strict=True)]
    return total[0], total[1], total[2]


segresnet.stride_multiple = _stride_multiple  # type: ignore[attr-defined]
