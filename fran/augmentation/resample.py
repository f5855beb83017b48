"""An affine map of one image and its label map by gathering the eight voxels around each source point.

Written out instead of `torch.nn.functional.grid_sample`, because image and label map share the positions, the label map
needs what `grid_sample` lacks, and on a CPU it takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Vox = tuple[int, int, int]
Device = torch.device
SLAB_VOXELS = 1 << 17
"""On a CPU, so that what the eight corners need stays in its cache."""

_TIE = 1e-4
_INSIDE = 1e-4
_CORNERS = tuple(product((0, 1), repeat=3))


def resample(
    image: Tensor, lm: Tensor, matrix: NDArray[np.float64], offset: NDArray[np.float64], size: Vox, outside: Tensor
) -> tuple[Tensor, Tensor]:
    """Trilinear image and voted label map of `size` voxels.

    A label is that whose corners weigh most: the largest of all labels' trilinearly interpolated indicators, at a cost
    that does not grow with the number of labels. Equal weights go to the nearest voxel.

    Args:
        image: (C, x, y, z) float.
        lm: (x, y, z) integer.
        matrix, offset: (3, 3), (3,): `source = matrix @ voxel + offset`, in voxels.
        size: of the results, which are (C, x, y, z) and (x, y, z).
        outside: () value of the image beyond its border; the label map is 0 there.
    """
    padded, padded_lm = torch.stack([_padded(channel, outside) for channel in image]), _padded(lm, 0)
    mixed = None if lm.is_cuda else _mixed(padded_lm).view(-1)
    moved, moved_lm = image.new_empty(len(image), *size), lm.new_empty(size)
    planes = size[0] if lm.is_cuda else max(1, SLAB_VOXELS // (size[1] * size[2]))
    for first in range(0, size[0], planes):
        slab = slice(first, min(first + planes, size[0]))
        part = (slab.stop - first, *size[1:])
        cells = _Cells(matrix, offset + first * matrix[:, 0], part, padded_lm.shape, lm.device)
        for channel, result in zip(padded, moved, strict=True):
            result[slab] = cells.linear(channel.view(-1)).view(part)
        moved_lm[slab] = cells.vote(padded_lm.view(-1), mixed).view(part)
    return moved, moved_lm


class _Cells:
    """The cells of eight voxels of a padded source in which the voxels of a result lie.

    Attributes:
        first: (n,) flat index of the first of the eight.
        shares: three (n,) places within the cell along x, y, z, from 0 to 1.
        ahead: distance of each of the eight from the first.
    """

    def __init__(
        self, matrix: NDArray[np.float64], offset: NDArray[np.float64], size: Vox, padded: Sequence[int], device: Device
    ) -> None:
        self.size = size
        self.ahead = [(x * padded[1] + y) * padded[2] + z for x, y, z in _CORNERS]
        self.shares: list[Tensor] = []
        first = torch.zeros(size, dtype=torch.int32, device=device)
        for axis in range(3):
            place = self._along(matrix[axis].tolist(), float(offset[axis]) + 1, device)
            # beyond the padding everything has the padding's value
            place.clamp_(0, padded[axis] - 1 - _INSIDE)
            cell = place.int()
            self.shares.append(place.sub_(cell).view(-1))
            first.mul_(padded[axis]).add_(cell)
        self.first = first.view(-1)

    def _along(self, row: list[float], offset: float, device: torch.device) -> Tensor:
        steps = []
        for axis, (n, slope) in enumerate(zip(self.size, row, strict=True)):
            shape = [1, 1, 1]
            shape[axis] = n
            steps.append(torch.arange(n, dtype=torch.float32, device=device).mul_(slope).view(shape))
        return (steps[0] + offset + steps[1]) + steps[2]

    def linear(self, flat: Tensor) -> Tensor:
        """(n,) interpolated values of a flat padded channel."""
        values = [flat[ahead:].index_select(0, self.first) for ahead in self.ahead]
        for share in reversed(self.shares):
            values = [a.lerp_(b, share) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def vote(self, flat: Tensor, mixed: Tensor | None) -> Tensor:
        """(n,) labels of a flat padded label map; where no cell is mixed there is nothing to weigh.

        On a GPU `mixed` is None and all are weighed: to pick some out, the CPU would have to wait for the GPU.
        """
        if mixed is None:
            return self._weigh(flat, self.first, self.shares)
        result = flat.index_select(0, self.first)
        border = mixed.index_select(0, self.first).nonzero()[:, 0]
        if len(border):
            shares = [share.index_select(0, border) for share in self.shares]
            result[border] = self._weigh(flat, self.first.index_select(0, border), shares)
        return result

    def _weigh(self, flat: Tensor, where: Tensor, shares: Sequence[Tensor]) -> Tensor:
        labels = [flat[ahead:].index_select(0, where) for ahead in self.ahead]
        weights = []
        for corner in _CORNERS:
            x, y, z = (share if ahead else 1 - share for share, ahead in zip(shares, corner, strict=True))
            weights.append(x * y * z)
        scores = [weight * (1 + _TIE) for weight in weights]
        for a, b in combinations(range(len(_CORNERS)), 2):
            same = labels[a] == labels[b]
            scores[a].add_(same * weights[b])
            scores[b].add_(same * weights[a])
        best, winner = scores[0], labels[0]
        for score, label in zip(scores[1:], labels[1:], strict=True):
            winner = torch.where(score > best, label, winner)
            best = torch.maximum(best, score)
        return winner


def _padded(volume: Tensor, value: Tensor | float) -> Tensor:
    x, y, z = volume.shape
    result = volume.new_empty(x + 2, y + 2, z + 2)
    for axis in range(3):
        result.select(axis, 0).fill_(value)
        result.select(axis, -1).fill_(value)
    result[1:-1, 1:-1, 1:-1] = volume
    return result


def _mixed(padded: Tensor) -> Tensor:
    """Whether the 2 x 2 x 2 voxels from each one on are not all of one label; the last of each axis start none."""
    lowest = highest = padded
    for axis in range(3):
        n = lowest.shape[axis] - 1
        lowest = torch.minimum(lowest.narrow(axis, 0, n), lowest.narrow(axis, 1, n))
        highest = torch.maximum(highest.narrow(axis, 0, n), highest.narrow(axis, 1, n))
    return functional.pad(lowest != highest, (0, 1, 0, 1, 0, 1))
