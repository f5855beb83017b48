"""From scores on a stored grid to the winning channel on another grid, slab by slab, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fran.geometry import Grid, Shape, sub_grid
from fran.preprocessing.resampling import BLOCK_VOX, SCORES, Taps, block_rows, grid_taps, interpolate, keep_larger

Box = tuple[Shape, Shape]
_SLAB_PLANES = 8


class Scores(Protocol):
    """Anything of shape (C, x, y, z) that gives an array for ``scores[:, a:b, c:d, e:f]``: ndarray, memmap, HDF5."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, x, y, z)."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Part of the scores."""
        ...


class SlabArgmax:
    """The channel with the largest interpolated score at every voxel of a grid, from scores that come plane by plane.

    The destination is cut into blocks whose place depends on the grids alone, so the result does not depend on how
    many planes are there at a time. A block is written as soon as the planes that it reads are final. Memory beyond
    the scores and the result is one source block of all channels and two destination blocks of one, whatever the
    sizes. In a block only those channels are interpolated that can win: a channel that leads in the whole source block
    leads everywhere in the destination block, and one that stays below the least winning score never leads.

    Args:
        src: grid of the scores.
        dst: wanted grid, axes parallel to those of `src`.
        axis: along which the planes of `src` become final.
        inner: box of `src` that is image; the rest is padding and is not read. None is all of it.
        covers: box of `dst` that `src` speaks for; the rest is channel 0. None is all of it.
        edge: of a block in voxels of `dst`; None is 64, and less along `axis` where `dst` is the coarser one.

    Raises:
        GeometryError: the axes are not parallel.
    """

    def __init__(
        self,
        src: Grid,
        dst: Grid,
        axis: int = 0,
        inner: Box | None = None,
        covers: Box | None = None,
        edge: int | None = None,
    ) -> None:
        self.axis, self.shape, self._n_planes = axis, dst.shape, src.shape[axis]
        self._from, end = inner or ((0, 0, 0), src.shape)
        self._to, stop = covers or ((0, 0, 0), dst.shape)
        self._rows: list[list[tuple[slice, slice, Taps]]] = [[], [], []]
        if all(a < b for a, b in (*zip(self._from, end, strict=True), *zip(self._to, stop, strict=True))):
            part, whole = sub_grid(src, self._from, end), sub_grid(dst, self._to, stop)
            taps = grid_taps(part, whole, SCORES)
            edges = [BLOCK_VOX if edge is None else edge] * 3
            if edge is None:
                edges[axis] = min(BLOCK_VOX, max(1, _SLAB_PLANES * whole.shape[axis] // part.shape[axis]))
            self._rows = [block_rows(t, n, e) for t, n, e in zip(taps, whole.shape, edges, strict=True)]

    @property
    def n_slabs(self) -> int:
        """Slabs of the destination along `axis`."""
        return len(self._rows[self.axis])

    def ready(self, final: int) -> int:
        """Number of slabs that read nothing but the first `final` planes."""
        return sum(self._from[self.axis] + source.stop <= final for _, source, _ in self._rows[self.axis])

    def keep(self, final: int) -> int:
        """First plane that is still read once every slab that was ready has been written."""
        open_slabs = self._rows[self.axis][self.ready(final) :]
        return min((self._from[self.axis] + source.start for _, source, _ in open_slabs), default=self._n_planes)

    def empty(self, n_channels: int) -> NDArray[Any]:
        """Zeros on the destination grid, uint8 for up to 256 channels, else uint16."""
        return np.zeros(self.shape, np.uint8 if n_channels <= 256 else np.uint16)

    def blocks(self, begin: int, end: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], list[Taps]]]:
        """Destination box, source box and taps of each block in the slabs `begin` to one before `end`."""
        rows = list(self._rows)
        rows[self.axis] = rows[self.axis][begin:end]
        for parts in product(*rows):
            target = tuple(_moved(p[0], a) for p, a in zip(parts, self._to, strict=True))
            source = tuple(_moved(p[1], a) for p, a in zip(parts, self._from, strict=True))
            yield target, source, [p[2] for p in parts]

    def write(self, scores: Scores, out: NDArray[Any], begin: int, end: int) -> None:
        """Write the winning channel of the slabs `begin` to one before `end` into `out`.

        Args:
            scores: (C, x, y, z) on the source grid; its planes that these slabs read are final.
            out: (x, y, z) on the destination grid, from `empty`.
            begin, end: numbers of slabs.
        """
        for target, source, taps in self.blocks(begin, end):
            out[target] = _block_argmax(np.asarray(scores[(slice(None), *source)]), taps, out.dtype)

    def interpolated(
        self, scores: Scores, begin: int, end: int
    ) -> Iterator[tuple[tuple[slice, ...], NDArray[np.float32]]]:
        """Destination box and interpolated scores (C, x, y, z) of each block in the slabs; arguments as of `write`."""
        for target, source, taps in self.blocks(begin, end):
            block = np.asarray(scores[(slice(None), *source)])
            yield target, np.stack([interpolate(channel.astype(np.float32), taps) for channel in block])


def resample_probabilities_slabwise(
    scores: Scores, src: Grid, dst: Grid, edge: int | None = None
) -> NDArray[np.generic]:
    """Channel with the largest interpolated score at every voxel of ``dst``, from whole scores; see `SlabArgmax`.

    Args:
        scores: (C, x, y, z) on ``src``; probabilities or logits.
        src: grid of the scores.
        dst: wanted grid, its axes parallel to those of ``src``.
        edge: of a block in destination voxels.

    Returns:
        channel indices on ``dst``, uint8 for up to 256 channels, else uint16.

    Raises:
        GeometryError: the axes are not parallel.
    """
    argmax = SlabArgmax(src, dst, edge=edge)
    out = argmax.empty(scores.shape[0])
    argmax.write(scores, out, 0, argmax.n_slabs)
    return out


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _block_argmax(block: NDArray[Any], taps: list[Taps], dtype: np.dtype[Any]) -> Any:
    leaders = block.argmax(axis=0)
    present = np.flatnonzero(np.bincount(leaders.reshape(-1)))
    if present.size == 1:
        return present[0]
    if all(t.identity for t in taps):
        return leaders
    first, *others = (int(c) for c in present)
    best = interpolate(block[first].astype(np.float32), taps)
    out = np.full(best.shape, first, dtype)
    for channel in others:
        keep_larger(interpolate(block[channel].astype(np.float32), taps), channel, best, out)
    reach = block.reshape(len(block), -1).max(axis=1)
    contenders = reach > best.min()
    contenders[present] = False
    for channel in np.flatnonzero(contenders).tolist():
        keep_larger(interpolate(block[channel].astype(np.float32), taps), channel, best, out)
    return out
