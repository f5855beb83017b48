"""Convolutions for inference on a CPU: PyTorch's values, whatever the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fran.networks.build import build_network, fill_spec
from fran.networks.convolution import Conv3d, quicken_on_cpu

PATCH = (24, 16, 16)
TARGETS = ["fran.networks.unet.unet", "fran.networks.unet.resunet", "fran.networks.dynunet.dynunet"]


@pytest.fixture(params=TARGETS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    spec = fill_spec({"_target_": request.param, "filters": 4}, 1, 3, PATCH, (1.0, 1.2, 2.5))
    torch.manual_seed(0)
    return build_network(spec).eval().requires_grad_(False)


def test_values_and_weights_are_pytorchs(network: nn.Module) -> None:
    quick = quicken_on_cpu(copy.deepcopy(network))
    assert any(isinstance(module, Conv3d) for module in quick.modules())
    assert quick.state_dict().keys() == network.state_dict().keys()
    tiles = torch.randn((2, 1, *PATCH), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(quick(tiles), network(tiles), rtol=1e-4, atol=1e-4)


def test_a_tile_has_the_same_scores_alone_and_in_a_batch(network: nn.Module) -> None:
    quick = quicken_on_cpu(network)
    tiles = torch.randn((3, 1, *PATCH), generator=torch.Generator().manual_seed(1))
    alone = torch.cat([quick(tiles[n : n + 1]) for n in range(3)])
    assert torch.equal(alone, quick(tiles))


def test_odd_convolutions_are_left_alone() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding="same"), nn.Conv3d(2, 2, 3, padding_mode="reflect", padding=1))
    tiles = torch.randn(1, 1, 8, 7, 6)
    expected = network(tiles)
    quicken_on_cpu(network)
    assert not any(isinstance(module, Conv3d) for module in network)
    torch.testing.assert_close(network(tiles), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "kernel", "shape"),
    [(96, 3, (12, 12, 8)), (320, 2, (6, 5, 4)), (32, 3, (25, 26, 9)), (8, 2, (7, 6, 5))],
)
def test_transposed_convolutions_do_not_depend_on_the_batch(channels: int, kernel: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    padding = kernel - 2
    plain = nn.ConvTranspose3d(channels, 12, kernel, 2, padding=padding, output_padding=padding).requires_grad_(False)
    quick = quicken_on_cpu(nn.Sequential(copy.deepcopy(plain)))
    tiles = torch.randn((3, channels, *shape))
    alone = torch.cat([quick(tiles[n : n + 1]) for n in range(3)])
    assert torch.equal(alone, quick(tiles))
    torch.testing.assert_close(alone, plain(tiles), rtol=1e-4, atol=1e-4)
