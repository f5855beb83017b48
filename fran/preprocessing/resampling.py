"""Separable resampling between two grids whose axes are parallel, in blocks that bound the memory.

Along each axis a destination voxel is a weighted sum of a few source voxels. Images take a Lanczos kernel (three
lobes), label indicators a cubic one, scores a triangle, whose weights are never negative. Where the destination is
coarser the kernel is widened, which is the usual protection against aliasing. Beyond the volume the edge voxel is
repeated. Sums are element-wise and never go through a BLAS, so that the result depends neither on the number of threads
nor on the machine. The choice of kernels is measured in benchmarks/bench_resampling.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fran.geometry import Grid, axis_map

Box = tuple[slice, slice, slice]
FloatArray = NDArray[np.float32]
ScalarT = TypeVar("ScalarT", bound=np.generic)

BLOCK_VOX = 64


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.clip(1 - np.abs(x), 0, None)
    return weights


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Keys, IEEE Trans. ASSP 29 (1981) 1153, with a = -0.75
    a, x = -0.75, np.abs(x)
    inner, outer = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Duchon, J. Appl. Meteorol. 18 (1979) 1016
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


@dataclass(frozen=True)
class Kernel:
    """How voxels are weighted by their distance.

    Attributes:
        weight: of a distance in units of the (widened) voxel.
        support: distance beyond which it is 0.
        widening: 1 widens by the whole scale, so that nothing the coarser grid cannot hold gets through; less keeps
            more detail and lets a little aliasing pass.
    """

    weight: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    support: int
    widening: float


_IMAGE, _LABELS, SCORES = Kernel(_lanczos, 3, 0.5), Kernel(_cubic, 2, 1.0), Kernel(_triangle, 1, 1.0)


@dataclass(frozen=True)
class Taps:
    """Along one axis: destination voxel j is ``sum over t of weights[t, j] * source[indices[t, j]]``.

    ``axis`` is the axis of the grids, by which ties in the order of work are broken: the result does not depend on the
    memory order of the input.
    """

    indices: NDArray[np.intp]
    weights: FloatArray
    identity: bool
    axis: int

    def part(self, rows: slice) -> tuple[slice, Taps]:
        """The source range that some destination rows read, and the taps relative to it."""
        if self.identity:
            return rows, self
        indices, weights = self.indices[:, rows], self.weights[:, rows]
        first, last = int(indices.min()), int(indices.max())
        used = weights.any(axis=1)
        return slice(first, last + 1), Taps(indices[used] - first, weights[used], False, self.axis)


def _axis_taps(kernel: Kernel, axis: int, scale: float, offset: float, n_src: int, n_dst: int) -> Taps:
    centres = scale * np.arange(n_dst) + offset
    identity = scale == 1 and offset == 0 and n_src == n_dst
    width = max(1.0, 1 + kernel.widening * (scale - 1))
    first = np.floor(centres - kernel.support * width).astype(np.intp) + 1
    positions = first + np.arange(int(np.ceil(2 * kernel.support * width)))[:, None]
    weights = kernel.weight((positions - centres) / width)
    weights /= weights.sum(axis=0)
    return Taps(np.clip(positions, 0, n_src - 1), weights.astype(np.float32), identity, axis)


def grid_taps(src: Grid, dst: Grid, kernel: Kernel) -> list[Taps]:
    """Taps along x, y and z.

    Raises:
        GeometryError: the axes are not parallel.
    """
    maps = axis_map(src, dst)
    return [_axis_taps(kernel, i, *m, a, b) for i, (m, a, b) in enumerate(zip(maps, src.shape, dst.shape, strict=True))]


def _slowest_first(array: NDArray[np.generic], *others: NDArray[Any]) -> tuple[list[int], list[NDArray[Any]]]:
    """The order of axes in which an array lies in memory, and views of all arrays in that order.

    Files have x fastest and fran's arrays z: blocks cut along the memory are copied several times as fast, and the turn
    is left to the result.
    """
    order = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    return order, [a.transpose(order) for a in (array, *others)]


def _blocks(shape: tuple[int, ...], edge: int, taps: list[Taps]) -> Iterator[tuple[Box, Box, list[Taps]]]:
    """Destination boxes that tile ``shape``, with the source box each one reads and its taps."""
    rows = [block_rows(t, n, edge) for t, n in zip(taps, shape, strict=True)]
    for (x, sx, tx), (y, sy, ty), (z, sz, tz) in product(*rows):
        yield (x, y, z), (sx, sy, sz), [tx, ty, tz]


def block_rows(taps: Taps, n: int, edge: int) -> list[tuple[slice, slice, Taps]]:
    """Along one axis of ``n`` destination voxels: ranges of ``edge``, the source range each reads, and its taps."""
    rows = [slice(a, min(a + edge, n)) for a in range(0, n, edge)]
    return [(row, *taps.part(row)) for row in rows]


def interpolate(block: FloatArray, taps: list[Taps]) -> FloatArray:
    """Apply the taps axis by axis, the strongest reduction first."""
    # y before x where both shrink alike: it is the middle axis in either memory order, so whole rows are copied
    gains = [
        (1.0 if t.identity else round(t.indices.shape[1] / n, 1), t.axis != 1, t.axis)
        for t, n in zip(taps, block.shape, strict=True)
    ]
    for axis in sorted(range(3), key=gains.__getitem__):
        if not taps[axis].identity:
            block = _along(block, taps[axis], axis)
    return block


def _along(block: FloatArray, taps: Taps, axis: int) -> FloatArray:
    if axis == 2:  # gathering from the contiguous axis would go voxel by voxel, along another whole rows are copied
        return _along(np.ascontiguousarray(block.swapaxes(1, 2)), taps, 1).swapaxes(1, 2)
    column = (-1, *(1,) * (2 - axis))
    total: FloatArray | None = None
    for indices, weights in zip(taps.indices, taps.weights, strict=True):
        term = block.take(indices, axis=axis, mode="clip")
        term *= weights.reshape(column)
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total


def resample_image(array: NDArray[np.generic], src: Grid, dst: Grid) -> NDArray[np.generic]:
    """Resample an intensity image.

    Args:
        array: (x, y, z) on ``src``, any real dtype and memory order.
        src: grid of the array.
        dst: wanted grid, its axes parallel to those of ``src``.

    Returns:
        float32 on ``dst``, within the range of ``array``; ``array`` itself, in its own dtype, when the grids are the
        same.

    Raises:
        GeometryError: the axes are not parallel.
    """
    taps = grid_taps(src, dst, _IMAGE)
    if all(t.identity for t in taps):
        return array
    out = np.empty(dst.shape, np.float32)
    low, high = np.float32(array.min()), np.float32(array.max())
    order, (array, turned) = _slowest_first(array, out)
    for target, source, part in _blocks(turned.shape, BLOCK_VOX, [taps[axis] for axis in order]):
        block = interpolate(array[source].astype(np.float32, order="C"), part)
        turned[target] = np.clip(block, low, high, out=block)  # the negative lobes ring at sharp edges
    return out


def resample_labels(lm: NDArray[ScalarT], src: Grid, dst: Grid) -> NDArray[ScalarT]:
    """Resample a label map by interpolating each label's indicator and taking the largest.

    A label is interpolated in the blocks where it occurs only, inside its bounding box there, so that many labels cost
    little more than few. Every destination voxel gets a label that occurs around it: no holes open between touching
    labels. A tie goes to the background.

    Args:
        lm: (x, y, z) unsigned integers on ``src``.
        src: grid of the label map.
        dst: wanted grid, its axes parallel to those of ``src``.

    Returns:
        same dtype on ``dst``; ``lm`` itself when the grids are the same.

    Raises:
        GeometryError: the axes are not parallel.
    """
    taps = grid_taps(src, dst, _LABELS)
    if all(t.identity for t in taps):
        return lm
    out = np.empty(dst.shape, lm.dtype)
    order, (lm, turned) = _slowest_first(lm, out)
    for target, source, part in _blocks(turned.shape, BLOCK_VOX, [taps[axis] for axis in order]):
        turned[target] = _block_labels(np.ascontiguousarray(lm[source]), part)
    return out


def _block_labels(block: NDArray[Any], taps: list[Taps]) -> Any:
    first = block.flat[0]
    if (block == first).all():
        return first
    counts = np.bincount(block.reshape(-1))
    present = np.flatnonzero(counts)
    rest = int(present[0]) if present[0] == 0 else int(counts.argmax())
    shape = _target_shape(block.shape, taps)
    best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    out = np.full(shape, rest, block.dtype)
    for label in present.tolist():
        if label != rest:
            target, share = _indicator(block == label, taps)
            total[target] += share
            keep_larger(share, label, best[target], out[target])
    out[1 - total >= best - 1e-6] = rest  # the indicators sum to one, so the last one need not be interpolated
    return out


def _target_shape(shape: tuple[int, ...], taps: list[Taps]) -> tuple[int, ...]:
    return tuple(n if t.identity else t.indices.shape[1] for n, t in zip(shape, taps, strict=True))


def _indicator(mask: NDArray[np.bool_], taps: list[Taps]) -> tuple[tuple[slice, ...], FloatArray]:
    """Interpolated indicator in the part of the block that the mask's bounding box reaches."""
    source, target, inner = [], [], []
    for axis, axis_taps in enumerate(taps):
        occupied: NDArray[np.bool_] = np.any(mask, axis=tuple(a for a in range(3) if a != axis))
        if axis_taps.identity:
            (rows,) = np.nonzero(occupied)
        else:
            (rows,) = np.nonzero((occupied[axis_taps.indices] & (axis_taps.weights != 0)).any(axis=0))
        reached = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
        if not rows.size:
            return (reached,) * 3, np.empty((0, 0, 0), np.float32)
        box, part = axis_taps.part(reached)
        source.append(box)
        target.append(reached)
        inner.append(part)
    return tuple(target), interpolate(mask[tuple(source)].astype(np.float32), inner)


def keep_larger(share: FloatArray, value: int, best: FloatArray, out: NDArray[Any]) -> None:
    """Running argmax, in place: where ``share`` beats ``best``, it takes the place and ``value`` is written."""
    larger = share > best
    np.copyto(best, share, where=larger)
    np.copyto(out, out.dtype.type(value), where=larger)
