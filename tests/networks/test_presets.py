"""Every shipped network, made small: it composes, learns, supervises, predicts and comes back from a checkpoint."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from fran.errors import ConfigError
from fran.losses.segmentation import SegmentationLoss, heads_of
from fran.networks.build import build_network, check_patch_size, fill_spec, nearest_patch_sizes, stride_multiple
from fran.networks.sliding_window import sliding_window
from fran.training.hardware import resolve_precision
from fran.workflows.composition import composed
from fran.workflows.locations import conf_dir

CLASSES = 3
SPACING = (1.0, 1.0, 2.5)
Vox = tuple[int, int, int]

#: What makes a preset small, and the smallest patch it takes that has three different sides.
SMALL: dict[str, tuple[dict[str, Any], Vox]] = {
    "dynunet": ({"filters": 4, "max_filters": 8}, (48, 32, 16)),
    "unet": ({"filters": 4, "max_filters": 8}, (48, 32, 16)),
    "resunet": ({"filters": 4, "max_filters": 8}, (48, 32, 16)),
    "resunet_s": ({"filters": 4, "max_filters": 8}, (48, 32, 16)),
    "segresnet": ({"filters": 8}, (48, 32, 16)),
    "mednext_s": ({"filters": 4}, (48, 32, 64)),
    "mednext_b": ({"filters": 4}, (48, 32, 64)),
    "mednext_m": ({"filters": 4}, (48, 32, 64)),
    "mednext_l": ({"filters": 4}, (48, 32, 64)),
    "swinunetr": ({"filters": 12, "depths": [1, 1, 1, 1], "window": 2}, (64, 32, 96)),
    "unetr": ({"filters": 4, "hidden_size": 24, "mlp_dim": 24, "num_heads": 2}, (48, 16, 32)),
}
#: Heads below the finest, with the shipped settings on the small patch.
SUPERVISED = {name: 0 if name in ("swinunetr", "unetr") else 4 if "mednext" in name else 2 for name in SMALL}

COMPILED_IN_CI = ("unet",)  # each takes minutes of the compiler
DEEP = ("mednext_m", "mednext_l")  # mednext_s and _b with more of the same blocks
presets = pytest.mark.parametrize("name", SMALL)


def shipped(name: str) -> dict[str, Any]:
    """A preset's specification as Hydra composes it."""
    return OmegaConf.to_container(composed(f"model/{name}", [])["model"])  # type: ignore[return-value]


@pytest.fixture(scope="module")
def small() -> Callable[[str], tuple[nn.Module, dict[str, Any], Vox]]:
    """A preset's network, made small, its complete specification and its patch; made once."""
    made: dict[str, tuple[nn.Module, dict[str, Any], Vox]] = {}

    def make(name: str) -> tuple[nn.Module, dict[str, Any], Vox]:
        if name not in made:
            smaller, patch = SMALL[name]
            torch.manual_seed(0)
            spec = fill_spec({**shipped(name), **smaller}, 1, CLASSES, patch, SPACING)
            made[name] = build_network(spec), spec, patch
        network, spec, patch = made[name]
        return network.train(), spec, patch

    return make


def image_of(patch: Vox, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn((batch, 1, *patch), generator=torch.Generator().manual_seed(seed))


def test_every_shipped_preset_is_tried_here() -> None:
    assert sorted(SMALL) == sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))


@presets
def test_every_preset_says_its_family_in_the_first_line(name: str) -> None:
    first = (conf_dir() / "model" / f"{name}.yaml").read_text().splitlines()[0]
    family, colon, special = first.removeprefix("# ").partition(": ")
    assert family and colon and special, first


@presets
def test_one_step_moves_every_parameter(name: str, small: Any) -> None:
    network, _, patch = small(name)
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():  # what begins as zero passes no gradient on
            parameter.add_(0.1 * torch.randn_like(parameter))
    target = torch.randint(CLASSES, (2, 1, *patch), generator=torch.Generator().manual_seed(1))
    loss = SegmentationLoss()(network(image_of(patch, 2)), target)
    loss.backward()
    assert loss.isfinite()
    still = {key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert not still


@presets
def test_heads_are_finest_first_and_prediction_is_one_tensor(name: str, small: Any) -> None:
    network, _, patch = small(name)
    image = image_of(patch)
    heads = heads_of(network(image))
    assert heads[0].shape == (1, CLASSES, *patch)
    assert len(heads) == 1 + SUPERVISED[name]
    voxels = [head.shape[2:].numel() for head in heads]
    assert voxels == sorted(voxels, reverse=True)
    assert len(set(voxels)) == len(voxels)
    assert all(full % side == 0 for head in heads for full, side in zip(patch, head.shape[2:], strict=True))
    with torch.no_grad():
        logits = network.eval()(image)
    assert isinstance(logits, Tensor)
    assert logits.shape == (1, CLASSES, *patch)
    copy.deepcopy(network)


@presets
def test_a_checkpoint_brings_the_same_network_back(name: str, small: Any, tmp_path: Path) -> None:
    network, spec, patch = small(name)
    torch.save({"model": spec, "state_dict": network.state_dict()}, tmp_path / "some.ckpt")
    stored = torch.load(tmp_path / "some.ckpt", weights_only=True)
    again = build_network(stored["model"]).eval()
    again.load_state_dict(stored["state_dict"])
    with torch.no_grad():
        torch.testing.assert_close(again(image_of(patch)), network.eval()(image_of(patch)), rtol=0, atol=0)


@presets
def test_a_patch_that_does_not_fit_is_refused_with_ones_that_do(name: str, small: Any) -> None:
    bad = (90, 91, 47)
    spec = fill_spec({**shipped(name), **SMALL[name][0]}, 1, CLASSES, bad, SPACING)
    with pytest.raises(ConfigError, match="nearest valid sizes"):
        check_patch_size(spec, bad)
    nearest = nearest_patch_sizes(spec, bad)
    assert nearest
    for size in nearest:
        check_patch_size(spec, size)


@presets
def test_the_published_multiple_is_what_the_network_needs(name: str, small: Any) -> None:
    _, spec, patch = small(name)
    multiple = stride_multiple(spec, patch)
    assert multiple is not None
    with torch.device("meta"), torch.no_grad():
        network = build_network(spec).eval()
        assert network(torch.empty(1, 1, *patch)).shape[2:] == patch
        for axis, side in enumerate(multiple):
            off = [n + (side // 2) * (a == axis) for a, n in enumerate(patch)]
            if side > 1:
                with pytest.raises((RuntimeError, ValueError)):
                    network(torch.empty(1, 1, *off))


@presets
def test_tiles_over_a_volume(name: str, small: Any) -> None:
    network, _, patch = small(name)
    volume = image_of((patch[0] + 9, patch[1] - 3, patch[2]))
    logits = sliding_window(network.eval(), volume, patch, CLASSES, overlap=0.25)
    assert logits.shape == (1, CLASSES, *volume.shape[2:])
    assert logits.isfinite().all()


@presets
def test_slices_far_apart_are_handled(name: str) -> None:
    """Spacing of a 2-D acquisition: thin patches where the network can leave an axis alone."""
    thick, thin = (0.5, 0.5, 6.0), (64, 96, 8)
    spec = fill_spec({**shipped(name), **SMALL[name][0]}, 1, CLASSES, thin, thick)
    if name in ("swinunetr", "unetr") or "mednext" in name:
        with pytest.raises(ConfigError, match="nearest valid sizes"):
            check_patch_size(spec, thin)
        return
    check_patch_size(spec, thin)
    with torch.device("meta"):
        heads = heads_of(build_network(spec).train()(torch.empty(2, 1, *thin)))
    assert heads[0].shape == (2, CLASSES, *thin)
    assert heads[1].shape[2:] == (32, 48, 8)


@pytest.mark.slow
@pytest.mark.skipif(
    resolve_precision("auto", "cpu") == "32-true", reason="this CPU emulates bf16, a hundred times as slowly as fp32"
)
@presets
def test_bf16_gives_what_fp32_gives(name: str, small: Any) -> None:
    network, _, patch = small(name)
    network.eval()
    with torch.no_grad():
        exact = network(image_of(patch))
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(image_of(patch))
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.05


def agree(network: nn.Module, compiled: nn.Module, patch: Vox) -> None:
    """Loss and gradients of a training step of two networks with equal weights are equal but for rounding."""
    target = torch.randint(CLASSES, (1, 1, *patch), generator=torch.Generator().manual_seed(1))
    losses = [SegmentationLoss()(net(image_of(patch)), target) for net in (network, compiled)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)
    for loss in losses:
        loss.backward()
    for eager, other in zip(network.parameters(), compiled.parameters(), strict=True):
        assert other.grad is not None and eager.grad is not None
        assert (other.grad - eager.grad).norm() <= 0.02 * eager.grad.norm() + 1e-6


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in DEEP else pytest.mark.slow) for name in SMALL]
)
def test_a_compiler_gets_the_network_in_one_piece(name: str, small: Any) -> None:
    """Everything of torch.compile but the code it writes: forward and backward traced, without a break."""
    network, _, patch = small(name)
    network, compiled = copy.deepcopy(network), copy.deepcopy(network)
    compiled.compile(backend="aot_eager", fullgraph=True)
    agree(network, compiled, patch)
    with torch.no_grad():
        logits = [net.eval()(image_of(patch)) for net in (network, compiled)]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile writes C++ on a CPU, and there is no g++")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in COMPILED_IN_CI else pytest.mark.long) for name in SMALL],
)
def test_compiled_networks_compute_the_same(name: str, small: Any) -> None:
    network, _, patch = small(name)
    network, compiled = copy.deepcopy(network), copy.deepcopy(network)
    compiled.compile()
    agree(network, compiled, patch)
