"""Sums of tile scores of which a window of planes is kept at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fran.networks.tiling import Vox

Allocate = Callable[[tuple[int, ...]], Tensor]
#: (start, stop) along x, y and z.
Ranges = Sequence[tuple[int, int]]


class PlaneSums:
    """(n_classes, x, y, z) sums of a volume, of which a window of planes along one axis exists.

    The window is a ring: plane p lies at p modulo the window's length. What is final and not needed any more is
    released and makes room for the planes after.

    Args:
        n_classes: channels.
        shape: (x, y, z) of the volume.
        axis: along which the window moves.
        planes: length of the window; that of the axis keeps the whole volume.
        allocate: makes a zeroed float32 tensor of a shape.
    """

    def __init__(self, n_classes: int, shape: Vox, axis: int, planes: int, allocate: Allocate = torch.zeros) -> None:
        self.shape, self.axis, self.planes = shape, axis, min(planes, shape[axis])
        self.first = 0
        sides = [self.planes if a == axis else n for a, n in enumerate(shape)]
        self._sums = allocate((n_classes, *sides))

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return self._sums.device

    def add(self, low: Vox, scores: Tensor, weight: Tensor) -> None:
        """Add the scores (n_classes, x, y, z) of a tile times its weights (x, y, z), as far as it lies in the volume.

        Args:
            low: first voxel of the tile; it may be negative.
            scores, weight: on the device of the sums.
        """
        sides = list(zip(low, scores.shape[1:], self.shape, strict=True))
        inside = [(max(0, a), min(size, a + side)) for a, side, size in sides]
        cut = tuple(slice(a - start, b - start) for (a, b), start in zip(inside, low, strict=True))
        scores, weight = scores[(slice(None), *cut)], weight[cut]
        begin = inside[self.axis][0]
        for (a, b), place in self._places(inside):
            here = slice(a - begin, b - begin)
            part = (slice(None),) * self.axis + (here,)
            self._sums[place].addcmul_(scores[(slice(None), *part)], weight[part])

    def box(self, ranges: Ranges) -> Tensor:
        """(n_classes, x, y, z) sums of a box; a view unless it wraps round the ring's end."""
        parts = [self._sums[place] for _, place in self._places(ranges)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=self.axis + 1)

    def release(self, stop: int) -> None:
        """Forget the planes before `stop`."""
        stop = min(stop, self.shape[self.axis])
        everything = [(0, n) for n in self.shape]
        everything[self.axis] = (self.first, stop)
        if stop > self.first:
            for _, place in self._places(everything):
                self._sums[place].zero_()
            self.first = stop

    def _places(self, ranges: Ranges) -> Iterator[tuple[tuple[int, int], tuple[slice, ...]]]:
        """Parts of a box that lie in one piece in the ring: their planes, and where they are."""
        a, b = ranges[self.axis]
        assert self.first <= a <= b <= self.first + self.planes, (a, b, self.first, self.planes)
        while a < b:
            at = a % self.planes
            stop = min(b, a + self.planes - at)
            place = [slice(None), *(slice(*pair) for pair in ranges)]
            place[self.axis + 1] = slice(at, at + stop - a)
            yield (a, stop), tuple(place)
            a = stop
