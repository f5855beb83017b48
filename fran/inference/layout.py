"""Scores that exist for a window of planes at a time, exported as the window moves on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fran.inference.case import OnBatch
from fran.inference.probabilities import ProbabilityFile
from fran.inference.scores import DiskTensor, ReadSums
from fran.networks.sliding_window import TileBatch, TilePass, stream
from fran.networks.sums import PlaneSums
from fran.networks.tiling import Band, Tiling, Vox, bands, frontiers, streaming_axis
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.scores import SlabArgmax

_STEP = 4


@dataclass(frozen=True, eq=False)
class Layout:
    """In which order a volume is worked through; it depends on shapes alone, never on memory.

    Attributes:
        shape: (x, y, z) of the prepared volume.
        axis: along which the window of planes moves.
        tilings: tiles of each network.
        order: their bands.
        argmax: the export.
        planes: length of the window: a band, and what the export still reads.
    """

    shape: Vox
    axis: int
    tilings: tuple[Tiling, ...]
    order: tuple[Band, ...]
    argmax: SlabArgmax
    planes: int

    @classmethod
    def of(cls, chain: GeometryChain, patches: Sequence[Vox], overlap: float, tile_batch: int) -> Layout:
        """Layout of a volume for networks of some patch sizes."""
        shape = chain.stored.shape
        axis = streaming_axis(shape, [max(sides) for sides in zip(*patches, strict=True)])
        tilings = [Tiling.of(shape, patch, overlap) for patch in patches]
        order, argmax = bands(tilings, axis, tile_batch), chain.slab_argmax(axis)
        planes = window_planes(order, argmax, shape[axis])
        return cls(shape, axis, tuple(tilings), tuple(order), argmax, planes)

    @property
    def window(self) -> tuple[int, ...]:
        """Shape of the planes that are kept at a time."""
        return tuple(self.planes if a == self.axis else n for a, n in enumerate(self.shape))


@dataclass(frozen=True, eq=False)
class Work:
    """What is done to one volume.

    Attributes:
        scores: a function for each tiling: tiles (n, 1, *patch) of stored values to (n, n_classes, *patch) scores.
        uniform: a function for each tiling: the one value of a tile, see `TilePass`.
        stored: (1, 1, x, y, z).
        n_classes: output channels, background included.
        probabilities: what the scores are; else logits.
        home: device of the sums.
        scratch: folder of a temporary file for them; None keeps them in memory.
        sink: takes the probabilities; None where they are not wanted.
    """

    scores: Sequence[Callable[[Tensor], Tensor]]
    uniform: Sequence[Callable[[Tensor], float | None]]
    stored: Tensor
    n_classes: int
    probabilities: bool
    home: torch.device
    scratch: Path | str | None = None
    sink: ProbabilityFile | None = None


def winning_channels(
    layout: Layout, work: Work, batch: TileBatch, on_batch: OnBatch | None = None
) -> tuple[NDArray[Any], float]:
    """Channel indices (x, y, z) on the raw grid in RAS+ order, and the seconds that the export took.

    Raises:
        StoreError: no room for the temporary file.
    """
    disk: list[DiskTensor] = []

    def allocate(shape: tuple[int, ...]) -> Tensor:
        if work.scratch is None:
            return torch.zeros(shape, device=work.home)
        disk.append(DiskTensor(shape, work.scratch))
        return disk[0].tensor

    def let_go() -> None:
        for tensor in disk:
            tensor.let_go()

    def after(done: int, in_all: int) -> None:
        let_go()
        if on_batch is not None:
            on_batch(done, in_all)

    sums = PlaneSums(work.n_classes, layout.shape, layout.axis, layout.planes, allocate)
    share = 1 / len(work.scores)
    parts = zip(work.scores, layout.tilings, work.uniform, strict=True)
    passes = [TilePass(score, tiling, share, uniform) for score, tiling, uniform in parts]
    scores, argmax = ReadSums(sums, work.n_classes, work.probabilities), layout.argmax
    out, written, seconds = argmax.empty(work.n_classes), 0, 0.0
    for final in stream(passes, work.stored, sums, layout.order, batch, after):
        started = perf_counter()
        ready = argmax.ready(final)
        for slab in range(written, ready):
            argmax.write(scores, out, slab, slab + 1)
            if work.sink is not None:
                work.sink.write(scores, argmax, slab, slab + 1)
            let_go()
        while sums.first < min(argmax.keep(final), final):  # in steps, for what is touched is in memory again
            sums.release(min(argmax.keep(final), final, sums.first + _STEP))
            let_go()
        written = ready
        seconds += perf_counter() - started
    assert written == argmax.n_slabs
    return out, seconds


def window_planes(order: Sequence[Band], argmax: SlabArgmax, size: int) -> int:
    """Planes of scores that are alive at a time: those of a band, and those that the export still reads."""
    keep = [0, *(argmax.keep(final) for final in frontiers(order, size))]
    return max(band.high - min(band.low, first) for band, first in zip(order, keep, strict=False))
