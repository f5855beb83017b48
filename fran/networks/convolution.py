"""3-D convolutions that go through oneDNN whatever the batch, for inference on a CPU.

For one small volume PyTorch leaves oneDNN for a kernel that was measured to be two to three times as slow, and whose
sums are rounded differently: the same tile then has other scores alone than beside another one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fran.networks.norm import quicken_norms


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


def quicken_on_cpu(network: nn.Module) -> nn.Module:
    """The network for inference on a CPU: norms and convolutions replaced, in place, by quicker ones of equal weights.

    The weights are laid out channels last, in which 3-D convolutions need no copies.
    """
    quicken_norms(network)
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for module in network.modules():
            if type(module) is nn.Conv3d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
                module.__class__ = Conv3d  # the same attributes: only how it is worked out changes
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]
