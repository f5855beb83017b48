"""3-D convolutions that go through oneDNN whatever the batch, for inference on a CPU.

For one small volume PyTorch leaves oneDNN for a kernel that was measured to be two to three times as slow, and whose
sums are rounded differently: the same tile then has other scores alone than beside another one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fran.networks.norm import quicken_norms

_SMALL = 20480


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` by oneDNN: same weights and state dict, and a sample's output does not depend on the batch."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, x, y, z) to (B, out, ...)."""
        if input.device.type != "cpu" or input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        assert not isinstance(self.padding, str)
        return torch.mkldnn_convolution(
            input, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


class ConvTranspose3d(nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` by oneDNN, likewise.

    PyTorch has no name for oneDNN's, and takes another kernel for one sample whose channels, x and y make no more than
    20480 values (``use_mkldnn`` in its Convolution.cpp). Such a sample goes in twice: these layers are the cheap ones.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(1 or B, C, x, y, z) to (1 or B, out, ...)."""
        if input.device.type != "cpu" or len(input) != 1 or input[0, ..., 0].numel() > _SMALL:
            return super().forward(input, output_size)
        return super().forward(input.expand(2, *input.shape[1:]), output_size)[:1]


def quicken_on_cpu(network: nn.Module) -> nn.Module:
    """The network for inference on a CPU: norms and convolutions replaced, in place, by quicker ones of equal weights.

    The weights are laid out channels last, in which 3-D convolutions need no copies.
    """
    quicken_norms(network)
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for module in network.modules():
            if type(module) is nn.Conv3d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
                module.__class__ = Conv3d  # the same attributes: only how it is worked out changes
            elif type(module) is nn.ConvTranspose3d:
                module.__class__ = ConvTranspose3d
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]
