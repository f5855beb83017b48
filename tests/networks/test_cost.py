"""Costs found without computing, against computation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fran.networks.build import build_network, fill_spec
from fran.networks.cost import network_cost

PATCH, SPACING = (48, 32, 16), (1.0, 1.0, 2.5)


def test_one_convolution_by_hand() -> None:
    spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 4, "kernel_size": 3, "padding": 1}
    cost = network_cost(spec, (6, 5, 4))
    assert cost.parameters == 4 * 27 + 4
    assert cost.flops == 2 * 27 * 4 * 120
    assert cost.kept == 4 * 120, "the image"
    assert cost.heads == ((6, 5, 4),)
    assert cost.classes == 4


@pytest.mark.parametrize("target", ["fran.networks.unet.unet", "fran.networks.dynunet.dynunet"])
def test_what_is_kept_is_what_real_tensors_keep(target: str) -> None:
    spec = fill_spec({"_target_": target, "filters": 4}, 1, 3, PATCH, SPACING)
    cost = network_cost(spec, PATCH)
    network = build_network(spec).train()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    held: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        heads = network(torch.randn(1, 1, *PATCH))
    kept = sum(t.untyped_storage().nbytes() for pointer, t in held.items() if pointer not in weights)
    assert cost.kept == pytest.approx(kept, rel=0.02)
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert cost.heads == tuple(tuple(head.shape[2:]) for head in heads)


def test_twice_the_patch_is_twice_the_work() -> None:
    shape = {"patch_size": [32, 32, 32], "spacing": [1.0, 1.0, 1.0]}
    spec = {"_target_": "fran.networks.unet.resunet", "in_channels": 1, "out_channels": 2, "filters": 8, **shape}
    one, two = network_cost(spec, (32, 32, 32)), network_cost(spec, (64, 32, 32))
    assert two.flops == 2 * one.flops
    assert two.kept == pytest.approx(2 * one.kept, rel=0.02)
    assert two.parameters == one.parameters


def test_frozen_weights_are_not_learnt() -> None:
    class Frozen(nn.Conv3d):
        def __init__(self) -> None:
            super().__init__(1, 2, 1)
            self.bias.requires_grad_(False)  # type: ignore[union-attr]

    import sys
    import types

    module = types.ModuleType("fran_test_frozen")
    module.Frozen = Frozen  # type: ignore[attr-defined]
    sys.modules["fran_test_frozen"] = module
    try:
        cost = network_cost({"_target_": "fran_test_frozen.Frozen"}, (4, 3, 2), trusted=["fran_test_frozen"])
    finally:
        del sys.modules["fran_test_frozen"]
    assert cost.parameters == 2
