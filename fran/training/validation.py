"""Predict a whole case during training, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor

from fran.networks.sliding_window import sliding_window

Vox = tuple[int, int, int]
MAX_LOGIT_BYTES = 4 * 2**30


@torch.no_grad()
def predict_channels(
    network: Callable[[Tensor], Any],
    image: Tensor,
    patch_size: Vox,
    n_classes: int,
    overlap: float = 0.5,
    tile_batch: int = 4,
    max_logit_bytes: int = MAX_LOGIT_BYTES,
) -> Tensor:
    """Most likely channel of each voxel.

    A volume whose logits would exceed `max_logit_bytes` is cut along its longest axis into slabs that overlap by a
    patch, of which the middle is kept.

    Args:
        network: in eval mode.
        image: (1, C, x, y, z) normalised.
        patch_size: (x, y, z) voxels.
        n_classes: channels of the network's output.
        overlap, tile_batch: see `sliding_window`.
        max_logit_bytes: bound on the accumulated logits.

    Returns:
        (x, y, z) int64 on the image's device.
    """
    shape = image.shape[2:]
    axis = max(range(3), key=lambda a: shape[a])
    per_plane = 4 * n_classes * image[0, 0].numel() // shape[axis]
    margin = patch_size[axis] // 2
    core = max(max_logit_bytes // per_plane - 2 * margin, patch_size[axis])
    result = torch.empty(shape, dtype=torch.int64, device=image.device)
    for number in range(ceil(shape[axis] / core)):
        start, stop = number * core, min((number + 1) * core, shape[axis])
        first, last = max(0, start - margin), min(shape[axis], stop + margin)
        slab = image.narrow(axis + 2, first, last - first)
        logits = sliding_window(network, slab, patch_size, n_classes, overlap, tile_batch)
        kept = logits[0].argmax(0).narrow(axis, start - first, stop - start)
        result.narrow(axis, start, stop - start).copy_(kept)
    return result
