"""Tiles, their weights, the order in which planes become final, and sums that keep a window of planes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fran.networks.sliding_window import TileBatch, TilePass, sliding_window, stream
from fran.networks.sums import PlaneSums
from fran.networks.tiling import Tiling, bands, frontiers, streaming_axis

SHAPES = [(23, 17, 11), (8, 31, 9), (5, 40, 7)]


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3), patch=st.tuples(*[st.integers(1, 12)] * 3), overlap=st.floats(0, 0.85)
)
def test_the_weights_of_all_tiles_sum_to_one(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    tiling = Tiling.of(shape, patch, overlap)
    sums = PlaneSums(1, shape, 0, shape[0])
    tiles = [tile for _, row in tiling.rows(1) for tile in row]
    assert len(tiles) == tiling.n_tiles == len(set(tiles))
    for tile in tiles:
        sums.add(tiling.low(tile), torch.ones((1, *patch)), tiling.weight(tile))
    torch.testing.assert_close(sums.box([(0, n) for n in shape]), torch.ones((1, *shape)))


@pytest.mark.parametrize("tile_batch", [1, 3, 50])
@pytest.mark.parametrize("along", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_later_tile_touches_what_is_final(shape: tuple[int, int, int], along: int, tile_batch: int) -> None:
    tilings = [Tiling.of(shape, (8, 12, 10), 0.5), Tiling.of(shape, (6, 6, 6), 0.3)]
    order = bands(tilings, along, tile_batch)
    tiles = [(number, tile) for band in order for number, some in band.work for tile in some]
    assert len(tiles) == len(set(tiles)) == sum(t.n_tiles for t in tilings)
    for number, final in enumerate(frontiers(order, shape[along])):
        touched = [tilings[n].low(t)[along] for band in order[number + 1 :] for n, some in band.work for t in some]
        assert all(low >= final for low in touched)
    assert frontiers(order, shape[along])[-1] == shape[along]


def _mixed() -> tuple[torch.nn.Module, Tensor]:
    torch.manual_seed(2)
    network = torch.nn.Conv3d(1, 3, 3, padding=1).eval().requires_grad_(False)
    return network, torch.randn((1, 1, 23, 17, 11), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("along", [0, 1, 2])
@pytest.mark.parametrize("spare", [0, 1, 5, 100])
def test_a_window_of_planes_gives_the_whole_result(along: int, spare: int) -> None:
    """Planes are read and released as soon as they are final; the ring is as short as it can be, or longer."""
    network, image = _mixed()
    shape = tuple(image.shape[2:])
    tiling = Tiling.of(shape, (8, 6, 4), 0.5)
    order = bands([tiling], along, 1)
    starts = [0, *frontiers(order, shape[along])]
    planes = max(band.high - start for band, start in zip(order, starts, strict=False)) + spare
    sums = PlaneSums(3, shape, along, planes)
    found = torch.full((3, *shape), float("nan"))
    first = 0
    for final in stream([TilePass(network, tiling)], image, sums, order, TileBatch(1)):
        ranges = [(first, final) if a == along else (0, n) for a, n in enumerate(shape)]
        found[(slice(None), *(slice(*r) for r in ranges))] = sums.box(ranges)
        sums.release(final)
        first = final
    whole = sliding_window(network, image, (8, 6, 4), 3, 0.5, 1)[0]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    assert sums.planes == min(planes, shape[along])


def test_the_result_of_a_window_is_the_same_to_the_last_bit() -> None:
    network, image = _mixed()
    shape = tuple(image.shape[2:])
    tiling = Tiling.of(shape, (8, 6, 4), 0.5)
    order = bands([tiling], 0, 1)
    results = []
    for planes in (14, 16, 23):
        sums, found, first = PlaneSums(3, shape, 0, planes), [], 0
        for final in stream([TilePass(network, tiling)], image, sums, order, TileBatch(1)):
            found.append(sums.box([(first, final), (0, 17), (0, 11)]).clone())
            sums.release(final)
            first = final
        results.append(torch.cat(found, 1))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_out_of_memory_halves_the_batch_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    network, image = _mixed()
    sizes: list[int] = []

    def small(tiles: Tensor) -> Tensor:
        sizes.append(len(tiles))
        if len(tiles) > 2:
            raise torch.OutOfMemoryError("no room")
        return network(tiles)

    found = sliding_window(small, image, (8, 6, 4), 3, 0.5, 8)
    torch.testing.assert_close(found, sliding_window(network, image, (8, 6, 4), 3, 0.5, 1), rtol=1e-5, atol=1e-5)
    assert sizes[:3] == [8, 4, 2] and max(sizes[3:]) == 2
    assert "tile_batch=4" in caplog.text and "tile_batch=2" in caplog.text


def test_one_tile_that_does_not_fit_is_an_error() -> None:
    def full(tiles: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        sliding_window(full, _mixed()[1], (8, 6, 4), 3, 0.5, 4)


def test_tiles_of_one_value_are_worked_out_once() -> None:
    network, image = _mixed()
    image[:, :, :14] = -3.0
    sizes: list[int] = []

    def counted(tiles: Tensor) -> Tensor:
        sizes.append(len(tiles))
        return network(tiles)

    def value(tile: Tensor) -> float | None:
        return float(tile.min()) if tile.min() == tile.max() else None

    shape = tuple(image.shape[2:])
    tiling = Tiling.of(shape, (8, 6, 4), 0.5)
    results = []
    for tile_batch in (1, 2, 5):
        sums = PlaneSums(3, shape, 0, shape[0])
        one = TilePass(counted, tiling, uniform=value)
        list(stream([one], image, sums, bands([tiling], 0, tile_batch), TileBatch(tile_batch)))
        results.append(sums.box([(0, n) for n in shape]).clone())
        assert sum(sizes) < 0.8 * tiling.n_tiles and max(sizes) <= tile_batch
        sizes.clear()
    torch.testing.assert_close(results[0], sliding_window(network, image, (8, 6, 4), 3)[0], rtol=1e-5, atol=1e-5)
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-5, atol=1e-5)


def test_the_streaming_axis_is_where_least_is_unfinished() -> None:
    assert streaming_axis((40, 100, 60), (32, 32, 16)) == 2
    assert streaming_axis((10, 10, 10), (32, 32, 32)) == 0
