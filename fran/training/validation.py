"""Predict a whole case during training, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from fran.networks.sliding_window import TileBatch, TilePass, first_head, stream
from fran.networks.sums import PlaneSums
from fran.networks.tiling import Tiling, Vox, bands, streaming_axis

#: Sums of scores that are kept on the network's device; larger ones are kept in main memory.
MAX_SUM_BYTES = 4 * 2**30
ARGMAX_PLANES = 8


@torch.no_grad()
def predict_channels(
    network: Callable[[Tensor], Any],
    image: Tensor,
    patch_size: Vox,
    n_classes: int,
    overlap: float = 0.5,
    tile_batch: int = 4,
    max_sum_bytes: int = MAX_SUM_BYTES,
) -> Tensor:
    """Most likely channel of each voxel, by the tiles of `fran.networks.sliding_window`.

    Planes are decided as soon as no further tile touches them, so the scores of no more than a patch's length of
    planes exist at a time: 4 bytes for each class and voxel of the volume, times the smallest ratio of patch to volume
    side.

    Args:
        network: in eval mode.
        image: (1, C, x, y, z) normalised.
        patch_size: (x, y, z) voxels.
        n_classes: channels of the network's output.
        overlap, tile_batch: see `sliding_window`.
        max_sum_bytes: scores beyond it are kept in main memory instead of the device's.

    Returns:
        (x, y, z) on the image's device, uint8 (int16 for more than 256 classes).
    """
    x, y, z = image.shape[2:]
    shape = (x, y, z)
    axis, tiling = streaming_axis(shape, patch_size), Tiling.of(shape, patch_size, overlap)
    order = bands([tiling], axis, tile_batch)
    planes = max(band.high - band.low for band in order)
    fits = 4 * n_classes * planes * prod(shape) // shape[axis] <= max_sum_bytes
    home = image.device if fits else torch.device("cpu")

    def allocate(sides: tuple[int, ...]) -> Tensor:
        return torch.zeros(sides, device=home)

    def score(tiles: Tensor) -> Tensor:
        return first_head(network(tiles), len(tiles), n_classes, patch_size)

    sums = PlaneSums(n_classes, shape, axis, planes, allocate)
    result = torch.empty(shape, dtype=torch.uint8 if n_classes <= 256 else torch.int16, device=home)
    written = 0
    for final in stream([TilePass(score, tiling)], image, sums, order, TileBatch(tile_batch)):
        for start in range(written, final, ARGMAX_PLANES):  # few at a time: a box over the ring's end is a copy
            stop = min(start + ARGMAX_PLANES, final)
            ranges = [(start, stop) if a == axis else (0, n) for a, n in enumerate(shape)]
            result.narrow(axis, start, stop - start).copy_(sums.box(ranges).argmax(0))
        sums.release(final)
        written = final
    return result.to(image.device)
