"""Tiled application of a network against its application to the whole volume."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from fran.errors import ConfigError
from fran.networks.sliding_window import sliding_window
from fran.networks.tiling import gaussian_profile, tile_starts


def _image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))


def _pointwise(n_classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Conv3d(1, n_classes, 1).eval()


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(23, 17, 11), (8, 31, 9), (5, 6, 7), (40, 3, 12)])
def test_equals_the_whole_volume_for_a_pointwise_network(shape: tuple[int, int, int], overlap: float) -> None:
    network, image = _pointwise(), _image(*shape)
    tiled = sliding_window(network, image, (8, 12, 10), 3, overlap, 3)
    assert tiled.dtype == torch.float32
    torch.testing.assert_close(tiled, network(image).detach(), rtol=1e-5, atol=1e-5)


def test_the_number_of_tiles_per_pass_does_not_change_the_result() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1)).eval()
    image = _image(21, 16, 13)
    one, four = (sliding_window(network, image, (8, 8, 8), 2, 0.5, n) for n in (1, 4))
    torch.testing.assert_close(one, four, rtol=1e-5, atol=1e-5)
    assert one.std() > 0.1


def test_blending_is_the_gaussian_weighted_mean_of_the_tiles() -> None:
    """Two tiles of constant, different output: where they overlap, the mean weighted by the distance to each centre."""
    image = torch.zeros(1, 1, 12, 8, 8)
    values = iter([0.0, 1.0])
    blended = sliding_window(lambda tile: torch.full_like(tile, next(values)), image, (8, 8, 8), 1, 0.5, 1)[
        0, 0, :, 3, 4
    ]
    profile = gaussian_profile(8)
    expected = torch.cat([torch.zeros(4), profile[:4] / (profile[4:] + profile[:4]), torch.ones(4)])
    torch.testing.assert_close(blended, expected)


def test_padding_uses_the_lowest_value_and_is_centred() -> None:
    seen: list[Tensor] = []
    image = _image(5, 9, 3)

    def network(tile: Tensor) -> Tensor:
        seen.append(tile.clone())
        return tile

    sliding_window(network, image, (8, 9, 6), 1)
    assert seen[0].shape == (1, 1, 8, 9, 6)
    torch.testing.assert_close(seen[0][:, :, 1:6, :, 1:4], image)
    assert (seen[0][:, :, 6:] == image.min()).all()


@pytest.mark.parametrize("stack", [lambda a: [a, a[..., ::2] * 0], lambda a: torch.stack([a, a * 0], 1)])
def test_of_deep_supervision_heads_the_first_counts(stack) -> None:  # type: ignore[no-untyped-def]
    network, image = _pointwise(), _image(9, 8, 10)
    torch.testing.assert_close(
        sliding_window(lambda t: stack(network(t)), image, (8, 8, 8), 3), sliding_window(network, image, (8, 8, 8), 3)
    )


@pytest.mark.parametrize("size", [8, 9, 15, 16, 17, 100])
def test_starts_cover_the_axis_with_at_least_the_overlap(size: int) -> None:
    starts = tile_starts(size, 8, 0.5)
    assert starts[0] == 0
    assert starts[-1] == size - 8
    assert all(0 < b - a <= 4 for a, b in pairwise(starts))


def test_progress_is_reported() -> None:
    calls: list[tuple[int, int]] = []
    sliding_window(_pointwise(), _image(16, 8, 8), (8, 8, 8), 3, 0.5, 2, on_batch=lambda *a: calls.append(a))
    assert calls == [(2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"overlap": 1.0}, "overlap"),
        ({"tile_batch": 0}, "tile_batch"),
        ({"patch_size": (8, 8)}, "patch_size"),
        ({"n_classes": 4}, "classes"),
    ],
)
def test_what_does_not_fit_is_named(kwargs: dict[str, object], word: str) -> None:
    settings: dict[str, object] = {"patch_size": (8, 8, 8), "n_classes": 3, **kwargs}
    with pytest.raises(ConfigError, match=word):
        sliding_window(_pointwise(), _image(8, 8, 8), **settings)  # type: ignore[arg-type]


def test_no_graph_is_kept() -> None:
    assert not sliding_window(_pointwise(), _image(8, 8, 8), (8, 8, 8), 3).requires_grad
