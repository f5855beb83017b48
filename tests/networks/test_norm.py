"""Instance normalisation against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fran.networks.norm import InstanceNorm3d, quicken_norms

layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])


def _pair(channels: int, dtype: torch.dtype = torch.float32) -> tuple[nn.InstanceNorm3d, InstanceNorm3d]:
    torch.manual_seed(3)
    theirs, own = nn.InstanceNorm3d(channels, affine=True), InstanceNorm3d(channels, affine=True)
    nn.init.normal_(theirs.weight, 1)
    nn.init.normal_(theirs.bias)
    own.load_state_dict(theirs.state_dict())
    return theirs.to(dtype), own.to(dtype)


@layouts
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_gradients_are_those_of_pytorch(layout: torch.memory_format, batch: int) -> None:
    found = []
    for norm in _pair(5):
        x = (7 + 3 * torch.randn((batch, 5, 6, 4, 3), generator=torch.Generator().manual_seed(1))).contiguous(
            memory_format=layout
        )
        x.requires_grad_()
        out = norm(x)
        out.pow(2).sum().add(out[:, 1].pow(3).sum()).backward()
        found.append((out.detach(), x.grad, norm.weight.grad, norm.bias.grad))
    for theirs, own in zip(*found, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)


@layouts
def test_the_memory_layout_stays(layout: torch.memory_format) -> None:
    x = torch.randn(2, 4, 6, 5, 3).contiguous(memory_format=layout).requires_grad_()
    out = InstanceNorm3d(4, affine=True)(x)
    out.sum().backward()
    assert out.is_contiguous(memory_format=layout)
    assert x.grad is not None
    assert x.grad.is_contiguous(memory_format=layout)


def test_gradients_against_differences() -> None:
    _, own = _pair(2, torch.float64)
    x = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(own, (x,))


def test_bf16_volumes_keep_their_type_and_statistics_in_fp32() -> None:
    theirs, own = _pair(4)
    x = 100 + torch.randn(2, 4, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = own(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), theirs(x.bfloat16().float()), rtol=0.02, atol=0.02)


def test_one_voxel_is_refused_as_by_pytorch() -> None:
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm3d(4, affine=True)(torch.randn(2, 4, 1, 1, 1))


def test_norms_of_a_network_are_replaced_and_weights_stay() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Sequential(nn.InstanceNorm3d(4, affine=True)), nn.InstanceNorm3d(4))
    nn.init.normal_(network[1][0].weight)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    quicken_norms(network)
    assert [type(m) for m in (network[1][0], network[2])] == [InstanceNorm3d, nn.InstanceNorm3d]
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
