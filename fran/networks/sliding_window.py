"""Apply patch networks to a whole volume: overlapping tiles, batched, blended with Gaussian weights.

Torch only, so that validation on a bare training machine and inference run the very same code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fran.errors import ConfigError
from fran.networks.sums import PlaneSums
from fran.networks.tiling import Band, Tiling, Vox, bands, frontiers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TilePass:
    """One network's way over a volume.

    Attributes:
        score: maps tiles (n, C, *patch), cut from the volume as it is, to (n, n_classes, *patch) scores.
        tiling: its tiles.
        share: factor on its scores; those of all passes sum to one.
        uniform: the value that a tile (1, C, *patch) has everywhere for the network, None where it has several; tiles
            of one value are worked out once. Air around a body is clipped to one value.
    """

    score: Callable[[Tensor], Tensor]
    tiling: Tiling
    share: float = 1.0
    uniform: Callable[[Tensor], float | None] = lambda _: None


@dataclass
class TileBatch:
    """Tiles in one forward pass; halved where the device has not the memory for them."""

    size: int

    def halve(self) -> None:
        """After an out-of-memory error."""
        self.size = max(1, self.size // 2)
        log.warning("the device ran out of memory: going on with tile_batch=%d", self.size)


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

    Returns:
        (1, n_classes, x, y, z) float32 on the device of `image`.

    Raises:
        ConfigError: a setting is impossible, or the network's output does not fit it.
    """
    patch = _checked(image, patch_size, overlap, tile_batch)
    shape: Vox = tuple(image.shape[2:])  # type: ignore[assignment]

    def score(tiles: Tensor) -> Tensor:
        return first_head(
            network(tiles if tile_device is None else tiles.to(tile_device)), len(tiles), n_classes, patch
        )

    whole = TilePass(score, Tiling.of(shape, patch, overlap))
    sums = PlaneSums(n_classes, shape, 0, shape[0], partial(torch.zeros, device=image.device))
    for _ in stream([whole], image, sums, bands([whole.tiling], 0, tile_batch), TileBatch(tile_batch), on_batch):
        pass  # the sums keep every plane, so nothing has to be fetched on the way
    return sums.box([(0, n) for n in shape]).unsqueeze(0)


def stream(
    passes: Sequence[TilePass],
    image: Tensor,
    sums: PlaneSums,
    order: Sequence[Band],
    batch: TileBatch,
    on_batch: Callable[[int, int], None] | None = None,
) -> Iterator[int]:
    """Add the scores of all tiles to `sums`, band by band.

    Args:
        passes: the networks.
        image: (1, C, x, y, z), on any device; tiles beyond it are filled with the channel's minimum.
        sums: receives the scores; its window must hold every band from its first plane that was not released.
        order: the tiles, from `fran.networks.tiling.bands`.
        batch: size of a forward pass; it is halved when the device runs out of memory.
        on_batch: called with (tiles done, tiles in all) after each forward pass.

    Yields:
        number of planes of the sums' axis that are final. The consumer may release them.
    """
    run = _Run(image, image.amin(dim=(2, 3, 4), keepdim=True), sums)
    known: list[dict[float, Tensor]] = [{} for _ in passes]
    done, n_tiles = 0, sum(p.tiling.n_tiles for p in passes)
    for band, final in zip(order, frontiers(order, sums.shape[sums.axis]), strict=True):
        for number, tiles in band.work:
            for some in _apply(passes[number], tiles, run, known[number], batch):
                done += some
                if on_batch is not None:
                    on_batch(done, n_tiles)
        yield final


@dataclass(frozen=True, eq=False)
class _Run:
    """A volume (1, C, x, y, z), what fills tiles beyond it (1, C, 1, 1, 1), and the sums."""

    image: Tensor
    lowest: Tensor
    sums: PlaneSums


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A tile whose scores are to be added: those that the network gives, or those of another tile of its value."""

    tile: Vox
    cut: Tensor
    value: float | None


def _apply(
    one: TilePass, tiles: Sequence[Vox], run: _Run, known: dict[float, Tensor], batch: TileBatch
) -> Iterator[int]:
    """Add the scores of one network's tiles in their order; yields the number of tiles of each batch.

    Args:
        one: the network.
        tiles: to work on.
        run: the volume and the sums.
        known: scores of tiles of one value, added to.
        batch: size of a forward pass.
    """
    waiting: list[_Waiting] = []
    for tile in tiles:
        cut = cut_tile(run.image, one.tiling.low(tile), one.tiling.patch, run.lowest)
        waiting.append(_Waiting(tile, cut, one.uniform(cut)))
        if len(_unknown(waiting, known)) >= batch.size:
            yield _flush(one, waiting, run, known, batch)
    if waiting:
        yield _flush(one, waiting, run, known, batch)


def _unknown(waiting: Sequence[_Waiting], known: dict[float, Tensor]) -> list[int]:
    """Numbers of the tiles that the network has to see: of each new value one."""
    seen = set(known)
    found = []
    for number, one in enumerate(waiting):
        if one.value is None or one.value not in seen:
            found.append(number)
        if one.value is not None:
            seen.add(one.value)
    return found


def _flush(one: TilePass, waiting: list[_Waiting], run: _Run, known: dict[float, Tensor], batch: TileBatch) -> int:
    """Work out what is waiting, add it, and forget it."""
    scores: dict[int, Tensor] = {}
    asked = _unknown(waiting, known)
    while asked:
        some = asked[: batch.size]
        try:
            found = one.score(torch.cat([waiting[number].cut for number in some]))
        except torch.OutOfMemoryError:
            if len(some) == 1:
                raise
            batch.halve()
            continue
        scores |= dict(zip(some, found, strict=True))
        asked = asked[len(some) :]
    for number, entry in enumerate(waiting):
        if entry.value is not None and number in scores:
            known[entry.value] = scores[number].clone()
        given = scores[number] if entry.value is None else known[entry.value]
        moved = given.to(device=run.sums.device, dtype=torch.float32)
        weight = one.tiling.weight(entry.tile).mul_(one.share)
        run.sums.add(one.tiling.low(entry.tile), moved, weight.to(run.sums.device))
    n = len(waiting)
    waiting.clear()
    return n


def cut_tile(image: Tensor, low: Vox, patch: Vox, fill: Tensor) -> Tensor:
    """(1, C, *patch) part of an image (1, C, x, y, z); what lies outside is filled (1, C, 1, 1, 1)."""
    sides = list(zip(low, patch, image.shape[2:], strict=True))
    inside = [slice(max(0, a), min(size, a + side)) for a, side, size in sides]
    part = image[(slice(None), slice(None), *inside)]
    if part.shape[2:] == patch:
        return part
    tile = fill.expand(-1, -1, *patch).clone()
    place = [slice(s.start - a, s.stop - a) for s, a in zip(inside, low, strict=True)]
    tile[(slice(None), slice(None), *place)] = part
    return tile


def first_head(output: Any, n: int, n_classes: int, patch: Vox) -> Tensor:
    """The full-resolution head of a network's output.

    Raises:
        ConfigError: its shape is not (n, n_classes, *patch).
    """
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


def _checked(image: Tensor, patch_size: Sequence[int], overlap: float, tile_batch: int) -> Vox:
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
