"""MONAI's networks with transformer encoders, which take the patch size as the size of what they attend over.

Their decoders are convolutional and end in one head: there is no deep supervision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.networks.nets.swin_unetr import SwinUNETR
from monai.networks.nets.unetr import UNETR
from torch import nn
from torch.overrides import TorchFunctionMode

from fran.errors import ConfigError
from fran.networks.norm import quicken_norms

Triple = tuple[int, int, int]


class _LinspaceOfNumbers(TorchFunctionMode):
    """MONAI reads probabilities out of `torch.linspace`, which is impossible where a network is only sized (meta)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        here = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **here})


class DeepSwinUNETR(SwinUNETR):
    """MONAI's SwinUNETR, whose check of a volume's sides is in plain numbers: torch.compile gives up at NumPy's."""

    def _check_input_size(self, spatial_shape: Sequence[int]) -> None:
        multiple = int(self.patch_size) ** 5
        if any(side % multiple for side in spatial_shape):
            raise ValueError(f"expected sides that are multiples of {multiple}, found {tuple(spatial_shape)}")


def swinunetr(
    in_channels: int,
    out_channels: int,
    *,
    filters: int = 24,
    depths: Sequence[int] = (2, 2, 2, 2),
    num_heads: Sequence[int] = (3, 6, 12, 24),
    window: int | Sequence[int] = 7,
    dropout: float = 0.0,
    residual_stages: bool = False,
    checkpoint: bool = False,
) -> DeepSwinUNETR:
    """Swin UNETR (Hatamizadeh et al. 2022, https://arxiv.org/abs/2201.01266).

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        filters: features of the first stage, a multiple of the first of `num_heads`; 48 in most published models.
        depths: transformer blocks of each stage.
        num_heads: attention heads of each stage.
        window: side of the attention windows; one for each axis is possible.
        dropout: probability within the transformer, 0 for none.
        residual_stages: a residual convolution before each stage ("V2").
        checkpoint: compute the transformer's activations twice instead of keeping them.

    Raises:
        ConfigError: `filters` is not a multiple of 12.
    """
    if filters % 12:
        near = max(12, filters // 12 * 12)
        raise ConfigError(f"model.filters: expected a multiple of 12, found {filters}; nearest: {near} or {near + 12}")
    with _LinspaceOfNumbers():
        network = DeepSwinUNETR(
            in_channels=in_channels,
            out_channels=out_channels,
            feature_size=filters,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            window_size=window if isinstance(window, int) else tuple(window),
            drop_rate=dropout,
            use_v2=residual_stages,
            use_checkpoint=checkpoint,
            spatial_dims=3,
        )
    quicken_norms(network)
    return network


def unetr(
    in_channels: int,
    out_channels: int,
    patch_size: Sequence[int],
    *,
    filters: int = 16,
    hidden_size: int = 768,
    mlp_dim: int = 3072,
    num_heads: int = 12,
    dropout: float = 0.0,
) -> UNETR:
    """UNETR (Hatamizadeh et al. 2022, https://arxiv.org/abs/2103.10504); the network holds for one patch size.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        patch_size: (x, y, z) voxels.
        filters: channels of the decoder at full resolution.
        hidden_size: length of a token, a multiple of `num_heads`.
        mlp_dim: width of the feed-forward layers.
        num_heads: attention heads.
        dropout: probability within the transformer, 0 for none.
    """
    network = UNETR(
        in_channels=in_channels,
        out_channels=out_channels,
        img_size=tuple(patch_size),
        feature_size=filters,
        hidden_size=hidden_size,
        mlp_dim=mlp_dim,
        num_heads=num_heads,
        dropout_rate=dropout,
    )
    for block in network.vit.blocks:
        # made by MONAI for other networks; weights without a gradient would stop a training on several devices
        block.norm_cross_attn = nn.Identity()
    quicken_norms(network)
    return network


def _swin_multiple(**_: object) -> Triple:
    return 32, 32, 32


def _unetr_multiple(**_: object) -> Triple:
    return 16, 16, 16


swinunetr.stride_multiple = _swin_multiple  # type: ignore[attr-defined]
unetr.stride_multiple = _unetr_multiple  # type: ignore[attr-defined]
