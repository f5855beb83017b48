from __future__ import annotations

import pytest
import torch

from fran.errors import ConfigError
from fran.networks.build import build_network, check_patch_size, fill_spec, nearest_patch_sizes, stride_multiple
from fran.networks.dynunet import topology

DYNUNET = {"_target_": "fran.networks.dynunet.dynunet", "filters": 4}
SEGRESNET = {"_target_": "fran.networks.segresnet.segresnet", "filters": 8}
PATCH, SPACING = (48, 32, 16), (0.8, 0.8, 2.5)


def test_anisotropic_topology_halves_fine_axes_first():
    plan = topology((64, 64, 16), (0.8, 0.8, 4.0))
    assert plan.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2))
    assert plan.kernels[:3] == ((3, 3, 1), (3, 3, 1), (3, 3, 3))
    assert plan.multiple == (16, 16, 4)


def test_voxels_twice_as_large_have_no_kernel_yet_and_the_coarsest_level_has_all():
    """Values of nnU-Net 2.8.1, `get_pool_and_conv_props`."""
    plan = topology((64, 64, 48), (1.5, 1.5, 3.0))
    assert plan.kernels == ((3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert plan.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    flat = topology((64, 64, 16), (0.5, 0.5, 6.0), max_levels=3)
    assert flat.kernels == ((3, 3, 1), (3, 3, 1), (3, 3, 3))


def test_one_axis_alone_is_halved_from_three_times_the_smallest_map_on():
    assert len(topology((8, 8, 8), (1.0, 2.5, 2.5)).strides) == 1
    assert topology((16, 8, 8), (1.0, 2.5, 2.5)).strides == ((1, 1, 1), (2, 1, 1), (2, 2, 2))


def test_isotropic_topology_stops_at_the_smallest_feature_map():
    plan = topology((40, 56, 40), (1.0, 1.0, 1.0), max_levels=6)
    assert plan.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert len(topology((256, 256, 256), (1, 1, 1), max_levels=5).strides) == 5


@pytest.mark.parametrize("spec", [DYNUNET, SEGRESNET])
def test_factories_give_heads_in_training_and_full_size_in_eval(spec):
    filled = fill_spec(spec, 1, 3, PATCH, SPACING)
    network = build_network(filled)
    image = torch.randn(1, 1, *PATCH)
    heads = network(image)
    assert len(heads) == 3
    assert heads[0].shape == (1, 3, *PATCH)
    assert heads[1].shape[2] == PATCH[0] // 2
    assert network.eval()(image).shape == (1, 3, *PATCH)


@pytest.mark.parametrize("spec", [DYNUNET, SEGRESNET])
def test_stride_multiple_is_what_the_network_needs(spec):
    multiple = stride_multiple(fill_spec(spec, 1, 2, PATCH, SPACING), PATCH)
    patch = tuple(2 * m for m in multiple)
    filled = fill_spec({**spec, "deep_supervision": 0}, 1, 2, PATCH, SPACING)
    with torch.no_grad():
        assert build_network(filled)(torch.randn(1, 1, *patch)).shape[2:] == patch


@pytest.mark.parametrize(
    "spec", [DYNUNET, SEGRESNET, {"_target_": "monai.networks.nets.SegResNet", "init_filters": 8, "spatial_dims": 3}]
)
def test_bad_patch_is_refused_with_valid_neighbours(spec):
    bad = (60, 64, 50)
    with pytest.raises(ConfigError, match="nearest valid sizes") as caught:
        check_patch_size(fill_spec(spec, 1, 2, bad, (1.0, 1.0, 1.0)), bad)
    proposals = str(caught.value).split("sizes: ")[1].split(" or ")
    assert proposals
    for proposal in proposals:
        sizes = tuple(int(n) for n in proposal.strip("[]").split(","))
        check_patch_size(fill_spec(spec, 1, 2, sizes, (1.0, 1.0, 1.0)), sizes)


def test_too_small_a_patch_is_told():
    with pytest.raises(ConfigError, match="allows 2 levels"):
        build_network(fill_spec(DYNUNET, 1, 2, (12, 12, 12), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("name", ["swinunetr", "segresnet"])
def test_a_coarsest_map_of_one_voxel_is_refused(name):
    swin = {"_target_": "fran.networks.transformers.swinunetr", "in_channels": 1, "out_channels": 2}
    spec, side = (swin, 32) if name == "swinunetr" else (fill_spec(SEGRESNET, 1, 2, (16, 16, 16), (1.0, 1.0, 1.0)), 16)
    assert nearest_patch_sizes(spec, (side, side, side)) == [(2 * side, 2 * side, side), (side, side, 2 * side)]
    assert nearest_patch_sizes(spec, (side, side, 2 * side)) is None


def test_fill_spec_adds_only_what_the_callable_takes():
    filled = fill_spec({"_target_": "torch.nn.Conv3d", "kernel_size": 3, "out_channels": None}, 1, 5, PATCH, SPACING)
    assert filled == {"_target_": "torch.nn.Conv3d", "kernel_size": 3, "in_channels": 1, "out_channels": 5}
    with pytest.raises(ConfigError, match="expected 5 from the data, found 2"):
        fill_spec({"_target_": "torch.nn.Conv3d", "out_channels": 2}, 1, 5, PATCH, SPACING)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"_target_": "os.system", "command": "true"}, "outside the allowed packages"),
        ({"_target_": "monai.networks.nets.DynUnett"}, "did you mean 'DynUnet"),
        ({"_target_": "fran.networks.nothing.net"}, "cannot import"),
        (
            {"_target_": "fran.networks.transformers.swinunetr", "in_channels": 1, "out_channels": 2, "filters": 16},
            "expected a multiple of 12, found 16; nearest: 12 or 24",
        ),
        ({"filters": 3}, "_target_"),
        ({**DYNUNET, "filtres": 3}, "did you mean 'filters'"),
        ({"_target_": "torch.nn.Conv3d", "in_channels": 1}, "expected also out_channels, kernel_size"),
        ({"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 3, "groups": 3}, "groups"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_network(spec)


def test_trusted_modules_extend_the_list():
    spec = {"_target_": "fractions.Fraction"}
    with pytest.raises(ConfigError, match=r"expected a torch\.nn\.Module, got Fraction"):
        build_network(spec, trusted=["fractions"])
