"""Where the tiles of a volume lie, how their outputs are blended, and in which order planes become final."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from math import ceil

import torch
from torch import Tensor

Vox = tuple[int, int, int]

#: Standard deviation of the tile weights over the patch side (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).
SIGMA_FRACTION = 1 / 8


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


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis.

    Attributes:
        starts: first voxel of each tile, ascending. Where the axis is shorter than a tile there is one, which leaves
            the volume on both sides.
        profiles: (side,) weights of each tile; where tiles overlap they sum to one.
    """

    starts: tuple[int, ...]
    profiles: tuple[Tensor, ...]

    @classmethod
    def of(cls, size: int, side: int, overlap: float) -> Axis:
        """Tiles of `side` voxels over an axis of `size`."""
        full = max(size, side)
        starts, profile = tile_starts(full, side, overlap), gaussian_profile(side)
        total = torch.zeros(full)
        for start in starts:
            total[start : start + side] += profile
        shares = tuple(profile / total[start : start + side] for start in starts)
        return cls(tuple(start - (full - size) // 2 for start in starts), shares)


@dataclass(frozen=True)
class Tiling:
    """Overlapping tiles on a full grid of starts over a volume.

    Attributes:
        shape: (x, y, z) of the volume.
        patch: (x, y, z) of a tile.
        axes: tiles along each axis.
    """

    shape: Vox
    patch: Vox
    axes: tuple[Axis, Axis, Axis]

    @classmethod
    def of(cls, shape: Sequence[int], patch: Sequence[int], overlap: float) -> Tiling:
        """Tiles that share at least `overlap` of a side with the next one."""
        x, y, z = (Axis.of(size, side, overlap) for size, side in zip(shape, patch, strict=True))
        return cls(_vox(shape), _vox(patch), (x, y, z))

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        x, y, z = self.axes
        return len(x.starts) * len(y.starts) * len(z.starts)

    def weight(self, tile: Vox) -> Tensor:
        """(x, y, z) float32 weights of a tile, given by its numbers along the axes; all tiles' sum to one."""
        x, y, z = (axis.profiles[number] for axis, number in zip(self.axes, tile, strict=True))
        return x[:, None, None] * y[:, None] * z

    def low(self, tile: Vox) -> Vox:
        """First voxel of a tile; it is negative where the volume is smaller than a tile."""
        x, y, z = (axis.starts[number] for axis, number in zip(self.axes, tile, strict=True))
        return x, y, z

    def rows(self, along: int) -> Iterator[tuple[int, list[Vox]]]:
        """(first plane, tiles) of the tiles that start in one plane of an axis, in ascending order."""
        numbers = [range(len(axis.starts)) for axis in self.axes]
        first, *others = (numbers[a] for a in (along, *(a for a in range(3) if a != along)))
        for row in first:
            tiles = [_inserted(pair, along, row) for pair in product(*others)]
            yield self.axes[along].starts[row], tiles


@dataclass(frozen=True)
class Band:
    """Tiles that are worked on together; the sums of planes before `low` are final once the bands before are done.

    Attributes:
        low: first plane that any of the tiles touches.
        high: one past the last.
        work: (number of the tiling, its tiles) in the order in which they are added.
    """

    low: int
    high: int
    work: tuple[tuple[int, tuple[Vox, ...]], ...]


def bands(tilings: Sequence[Tiling], along: int, tile_batch: int) -> list[Band]:
    """The tiles of all tilings, cut into bands along an axis.

    A voxel gets its tiles in the order of their first plane, then of the tilings, whatever the batch. A band has one
    row of tiles, or as many as fill a batch.
    """
    rows = sorted(
        (start, number, tiles) for number, tiling in enumerate(tilings) for start, tiles in tiling.rows(along)
    )
    found: list[Band] = []
    gathered: list[tuple[int, int, list[Vox]]] = []
    for _, same_start in groupby(rows, key=lambda row: row[0]):
        gathered += same_start
        if all(sum(len(t) for _, n, t in gathered if n == number) >= tile_batch for number in range(len(tilings))):
            found.append(_band(gathered, tilings, along))
            gathered = []
    return [*found, _band(gathered, tilings, along)] if gathered else found


def _band(rows: list[tuple[int, int, list[Vox]]], tilings: Sequence[Tiling], along: int) -> Band:
    size = tilings[0].shape[along]
    low = max(0, min(start for start, _, _ in rows))
    high = min(size, max(start + tilings[number].patch[along] for start, number, _ in rows))
    work = [
        (number, tuple(tile for _, _, tiles in same for tile in tiles))
        for number, same in groupby(rows, key=lambda row: row[1])
    ]
    return Band(low, high, tuple(work))


def frontiers(order: Sequence[Band], size: int) -> list[int]:
    """For each band the number of planes that are final once it is done."""
    return [*(band.low for band in order[1:]), size]


def streaming_axis(shape: Sequence[int], patch: Sequence[int]) -> int:
    """The axis along which the fewest voxels are unfinished at a time: where a tile is the smallest part of the side.

    Example:
        >>> streaming_axis((266, 266, 167), (64, 64, 48))
        0
    """
    shares = [min(1.0, side / size) for size, side in zip(shape, patch, strict=True)]
    return shares.index(min(shares))


def _inserted(pair: Sequence[int], along: int, row: int) -> Vox:
    return _vox([*pair[:along], row, *pair[along:]])


def _vox(values: Iterable[int]) -> Vox:
    x, y, z = (int(v) for v in values)
    return x, y, z
