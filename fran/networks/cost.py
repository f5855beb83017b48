"""What a network costs, found without computing: shapes alone go through it, on PyTorch's meta device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fran.networks.build import build_network

Vox = tuple[int, int, int]


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a network and of one training patch in it.

    Attributes:
        network: name of its class.
        parameters: numbers that are learnt.
        flops: of the forward pass of one patch; a multiplication and an addition are two.
        kept: bytes in float32 that the forward pass of one patch leaves for the backward pass.
        largest: bytes in float32 of the largest tensor among them.
        heads: sizes (x, y, z) of the outputs in training, the finest first.
        classes: channels of each head.
    """

    network: str
    parameters: int
    flops: int
    kept: int
    largest: int
    heads: tuple[Vox, ...]
    classes: int


def network_cost(spec: Mapping[str, Any], patch_size: Vox, trusted: Iterable[str] = ()) -> NetworkCost:
    """Cost of the network of a complete specification for patches of `patch_size` voxels.

    What is kept is what PyTorch's automatic differentiation says it saves, each storage counted once and weights left
    out: exact for eager execution, an upper bound for a compiled network.

    Raises:
        ConfigError: the network cannot be built.
        ValueError, RuntimeError: it cannot take the patch; see `fran.networks.build.nearest_patch_sizes`.
    """
    with torch.device("meta"):
        network = build_network(spec, trusted).train()
        image = torch.empty(1, int(spec.get("in_channels", 1)), *patch_size)
    flops = FlopCounterMode(display=False)
    saved = _Saved(network)
    with flops, torch.autograd.graph.saved_tensors_hooks(saved.note, _unchanged):
        output = network(image)
    heads = [output] if isinstance(output, Tensor) else list(output)
    return NetworkCost(
        _class_name(network),
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        int(flops.get_total_flops()),
        saved.bytes,
        saved.largest,
        tuple((head.shape[-3], head.shape[-2], head.shape[-1]) for head in heads),
        int(heads[0].shape[1]),
    )


class _Saved:
    """Counts the storages that are saved for the backward pass."""

    def __init__(self, network: nn.Module) -> None:
        # a storage is known by its address, which stays its own as long as something holds it
        self._held: dict[int, Tensor] = {_address(p): p for p in network.parameters()}
        self.bytes = self.largest = 0

    def note(self, tensor: Tensor) -> Tensor:
        if _address(tensor) not in self._held:
            self._held[_address(tensor)] = tensor.detach()
            size = tensor.untyped_storage().nbytes()
            self.bytes += size
            self.largest = max(self.largest, size)
        return tensor


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _class_name(network: nn.Module) -> str:
    """Name of the class, of upstream's where fran only changed what it puts out."""
    return type(network).__name__.removeprefix("Deep")
