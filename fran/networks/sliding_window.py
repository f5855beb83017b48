"""Apply a patch network to a whole volume: overlapping tiles, batched, blended with Gaussian weights.

Torch only, so that validation on a bare training machine and inference run the very same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, product
from math import ceil
from typing import Any

import torch
from torch import Tensor

from fran.errors import ConfigError

Start = tuple[int, int, int]

#: Standard deviation of the tile weights over the patch side (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).
SIGMA_FRACTION = 1 / 8


@torch.no_grad()
def sliding_window(
    network: Callable[[Tensor], Any],
    image: Tensor,
    patch_size: Sequence[int],
    n_classes: int,
    overlap: float = 0.5,
    tile_batch: int = 2,
    *,
    tile_device: torch.device | str | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    allocate: Callable[[tuple[int, ...]], Tensor] | None = None,
) -> Tensor:
    """Return the logits of the whole volume as the weighted mean of the logits of overlapping tiles.

    Args:
        network: maps (n, C, *patch_size) to (n, n_classes, *patch_size); of a list, tuple or stack (deep supervision)
            the first, full-resolution head is taken. It should be in eval mode; autocast belongs inside it.
        image: (1, C, x, y, z), normalised. Axes smaller than the patch are padded on both sides with the channel's
            minimum, as training crops are, and cut again.
        patch_size: (x, y, z) voxels.
        n_classes: output channels, background included.
        overlap: share of a tile that the next one covers, 0 <= overlap < 1.
        tile_batch: tiles per forward pass; it changes speed and memory, not the result.
        tile_device: where tiles are sent for the network; the volume and the sums stay where `image` is.
        on_batch: called with (tiles done, tiles in all) after each forward pass.
        allocate: makes the zeroed float32 tensor of a shape that the sums are kept in, such as one backed by a file;
            by default it is made on the device of `image`.

    Returns:
        (1, n_classes, x, y, z) float32 on the device of `image`.

    Raises:
        ConfigError: a setting is impossible, or the network's output does not fit it.
    """
    patch = _checked(image, patch_size, overlap, tile_batch)
    padded, inner = _pad_to(image, patch)
    sizes = padded.shape[2:]
    axis_starts = [tile_starts(size, side, overlap) for size, side in zip(sizes, patch, strict=True)]
    axis_weights = [gaussian_profile(side).to(image.device) for side in patch]
    weight = _outer(axis_weights)
    total = (allocate or partial(torch.zeros, device=image.device))((n_classes, *sizes))

    n_tiles, done = len(axis_starts[0]) * len(axis_starts[1]) * len(axis_starts[2]), 0
    for starts in _batches(product(*axis_starts), tile_batch):
        tiles = torch.cat([padded[_window(start, patch)] for start in starts])
        logits = _first_head(
            network(tiles.to(tile_device) if tile_device is not None else tiles), len(starts), n_classes, patch
        )
        for start, tile in zip(starts, logits, strict=True):
            total[_window(start, patch)[1:]].addcmul_(tile.to(device=image.device, dtype=torch.float32), weight)
        done += len(starts)
        if on_batch is not None:
            on_batch(done, n_tiles)

    for axis, (size, starts_on_axis, profile) in enumerate(zip(sizes, axis_starts, axis_weights, strict=True)):
        total /= _along(_summed_profile(size, starts_on_axis, profile), axis)
    return total[(slice(None), *inner)].unsqueeze(0)


def tile_starts(size: int, side: int, overlap: float) -> list[int]:
    """Evenly spread starts of tiles of `side` voxels that cover `size` >= side voxels with at least `overlap`."""
    step = max(1, int(side * (1 - overlap)))
    n = ceil((size - side) / step) + 1
    return [round(i * (size - side) / max(1, n - 1)) for i in range(n)]


def gaussian_profile(side: int) -> Tensor:
    """(side,) float32 weights exp(-d^2 / 2 sigma^2), d = distance to the tile's centre, sigma = side * SIGMA_FRACTION.

    The smallest, at the tile's edge, is exp(-8); the product of three stays far above the smallest float32, so nothing
    is clamped and the weights stay separable.
    """
    distance = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    return torch.exp(-0.5 * (distance / (side * SIGMA_FRACTION)) ** 2)


def _summed_profile(size: int, starts: Sequence[int], profile: Tensor) -> Tensor:
    """Tiles lie on a full grid of starts and their weights are separable, so the sum of all weights is too."""
    summed = torch.zeros(size, dtype=torch.float32, device=profile.device)
    for start in starts:
        summed[start : start + len(profile)] += profile
    return summed


def _along(values: Tensor, axis: int) -> Tensor:
    shape = [1, 1, 1]
    shape[axis] = -1
    return values.reshape(shape)


def _outer(profiles: Sequence[Tensor]) -> Tensor:
    x, y, z = (_along(profile, axis) for axis, profile in enumerate(profiles))
    return x * y * z


def _window(start: Start, patch: Start) -> tuple[slice, ...]:
    return (slice(None), slice(None), *(slice(a, a + side) for a, side in zip(start, patch, strict=True)))


def _batches(starts: Iterator[Any], size: int) -> Iterator[list[Start]]:
    while batch := list(islice(starts, size)):
        yield batch


def _pad_to(image: Tensor, patch: Start) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad to at least the patch, centred; return the padded image and the slices of the original inside it."""
    shape = image.shape[2:]
    lacking = [max(0, side - size) for size, side in zip(shape, patch, strict=True)]
    inner = tuple(slice(gap // 2, gap // 2 + size) for gap, size in zip(lacking, shape, strict=True))
    if not any(lacking):
        return image, inner
    lowest = image.amin(dim=(2, 3, 4), keepdim=True)
    padded = lowest.expand(-1, -1, *(size + gap for size, gap in zip(shape, lacking, strict=True))).clone()
    padded[(slice(None), slice(None), *inner)] = image
    return padded, inner


def _first_head(output: Any, n: int, n_classes: int, patch: Start) -> Tensor:
    if isinstance(output, list | tuple):
        output = output[0]
    if output.ndim == 6:  # MONAI's DynUNet stacks its heads along dimension 1 in training mode
        output = output[:, 0]
    expected = (n, n_classes, *patch)
    if tuple(output.shape) != expected:
        raise ConfigError(
            f"network: expected an output of shape {expected} (tiles, classes, x, y, z), found {tuple(output.shape)}; "
            "check out_channels and that patch_size is divisible by the network's strides"
        )
    return output  # type: ignore[no-any-return]


def _checked(image: Tensor, patch_size: Sequence[int], overlap: float, tile_batch: int) -> Start:
    if image.ndim != 5 or image.shape[0] != 1:
        raise ConfigError(f"image: expected one volume of shape (1, C, x, y, z), found {tuple(image.shape)}.")
    if len(patch_size) != 3 or min(patch_size) < 1:
        raise ConfigError(f"patch_size: expected three positive sides (x, y, z) in voxels, found {list(patch_size)}.")
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap: expected 0 <= overlap < 1, found {overlap}. 0.5 is usual.")
    if tile_batch < 1:
        raise ConfigError(f"tile_batch: expected at least 1, found {tile_batch}.")
    x, y, z = patch_size
    return int(x), int(y), int(z)
