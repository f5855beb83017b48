from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from fran.errors import GeometryError
from fran.geometry import Grid, axis_map, resampled_grid
from fran.preprocessing import resampling
from fran.preprocessing.resampling import resample_image, resample_labels
from fran.preprocessing.scores import resample_probabilities_slabwise

SHAPE = (23, 17, 11)


def oblique_grid(shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = (0.8, 1.1, 2.5)) -> Grid:
    c, s = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * np.array(spacing)
    affine[:3, 3] = (-20, 3, 7)
    return Grid(shape, affine)


def smooth(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(0, 100, shape), 1.2).astype(np.float32)


def weight(kernel: str, x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    if kernel == "triangle":
        return np.clip(1 - x, 0, None)
    if kernel == "cubic":
        inner = 1.25 * x**3 - 2.25 * x**2 + 1
        outer = -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3
        return np.select([x < 1, x < 2], [inner, outer])
    with np.errstate(invalid="ignore", divide="ignore"):
        lobes = 3 * np.sin(np.pi * x) * np.sin(np.pi * x / 3) / (np.pi * x) ** 2
    return np.select([x == 0, x < 3], [1, lobes])


def brute_force(array: np.ndarray, src: Grid, dst: Grid, kernel: str) -> np.ndarray:
    """The kernel's definition, one destination voxel of one axis at a time, on an array padded by its edges."""
    result = array.astype(np.float64)
    for axis, (scale, offset) in enumerate(axis_map(src, dst)):
        width, pad, lines = max(1.0, (1 + scale) / 2 if kernel == "lanczos" else scale), 60, []
        padded = np.pad(np.moveaxis(result, axis, 0), [(pad, pad), (0, 0), (0, 0)], mode="edge")
        positions = np.arange(len(padded)) - pad
        for j in range(dst.shape[axis]):
            weights = weight(kernel, (positions - (scale * j + offset)) / width)
            lines.append(np.tensordot(weights / weights.sum(), padded, 1))
        result = np.moveaxis(np.stack(lines), 0, axis)
    return result


SPACINGS = [(0.8, 1.1, 1.0), (0.5, 0.7, 1.3), (2.1, 1.1, 2.5), (1.7, 2.3, 6.0), (0.4, 2.6, 2.0), (30.0, 1.1, 2.5)]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("order", "CF")
def test_image_equals_the_definition(spacing: tuple[float, float, float], order: str) -> None:
    src = oblique_grid()
    dst = resampled_grid(src, spacing)
    array = np.asarray(smooth(), order=order)
    result = resample_image(array, src, dst)
    assert result.dtype == np.float32 and result.shape == dst.shape
    expected = brute_force(array, src, dst, "lanczos").clip(array.min(), array.max())
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_detail_survives_upsampling_better_than_by_linear_interpolation() -> None:
    src = oblique_grid((40, 36, 30))
    dst = resampled_grid(src, (0.5, 0.9, 1.7))
    axes = [s * np.arange(n) + o for (s, o), n in zip(axis_map(src, dst), dst.shape, strict=True)]
    fine, coarse = np.meshgrid(*axes, indexing="ij"), np.indices(src.shape)

    def wave(points: np.ndarray) -> np.ndarray:
        return 100 * np.sin(1.3 * points[0]) * np.cos(1.1 * points[1] + 1) * np.sin(0.9 * points[2] + 2)

    inner = (slice(8, -8),) * 3
    expected = wave(np.stack(fine))[inner]
    linear = map_coordinates(wave(coarse), fine, order=1, mode="nearest")[inner]
    found = resample_image(wave(coarse), src, dst)[inner]
    assert np.square(found - expected).mean() < 0.02 * np.square(linear - expected).mean()


def test_sharp_edges_do_not_leave_the_range() -> None:
    src = oblique_grid()
    image = np.where(smooth() > 10, 300, -1000).astype(np.int16)
    for spacing in SPACINGS:
        result = resample_image(image, src, resampled_grid(src, spacing))
        assert not result.size or (result.min() >= -1000 and result.max() <= 300)


def test_memory_order_does_not_matter() -> None:
    src = oblique_grid()
    dst = resampled_grid(src, (1.7, 2.0, 1.3))
    image, lm = smooth(), (smooth(1) // 20 % 3).astype(np.uint8)
    expected = resample_image(image, src, dst), resample_labels(lm, src, dst)
    for order in ((2, 1, 0), (1, 2, 0), (0, 2, 1)):
        back = np.argsort(order)
        turned = [np.ascontiguousarray(a.transpose(order)).transpose(back) for a in (image, lm)]
        np.testing.assert_array_equal(resample_image(turned[0], src, dst), expected[0])
        np.testing.assert_array_equal(resample_labels(turned[1], src, dst), expected[1])


def test_downsampling_does_not_alias() -> None:
    src = Grid((48, 7, 5), np.diag([1.0, 1, 1, 1]))
    stripes = np.broadcast_to((np.arange(48) % 2 * 200.0)[:, None, None], src.shape)
    result = resample_image(stripes, src, resampled_grid(src, (4.0, 1.0, 1.0)))
    np.testing.assert_allclose(result[2:-2], 100, atol=2)


def test_same_grid_gives_the_very_array() -> None:
    src = oblique_grid()
    array, lm = smooth().astype(np.int16), np.ones(SHAPE, np.uint16)
    assert resample_image(array, src, src) is array
    assert resample_labels(lm, src, Grid(SHAPE, src.affine.copy())) is lm


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    src = oblique_grid()
    dst = resampled_grid(src, (0.5, 2.3, 1.3))
    image, lm = smooth(), (smooth(1) // 20 % 3).astype(np.uint8)
    whole = resample_image(image, src, dst), resample_labels(lm, src, dst)
    monkeypatch.setattr(resampling, "BLOCK_VOX", 5)
    np.testing.assert_allclose(resample_image(image, src, dst), whole[0], atol=1e-3)
    assert (resample_labels(lm, src, dst) == whole[1]).mean() > 0.999  # ties may fall either way


def decided(shares: np.ndarray) -> np.ndarray:
    """Where the largest share is larger than the next by more than rounding."""
    ordered = np.sort(shares, axis=0)
    return ordered[-1] - ordered[-2] > 1e-4


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_equal_the_largest_indicator(spacing: tuple[float, float, float], dtype: type) -> None:
    src = oblique_grid()
    dst = resampled_grid(src, spacing)
    values = np.array([0, 1, 4, 117, 255 if dtype == np.uint8 else 3000])
    lm = values[np.digitize(smooth(2), [0, 15, 30, 45])].astype(dtype)
    result = resample_labels(lm, src, dst)
    shares = np.stack([brute_force(lm == v, src, dst, "cubic") for v in values])
    clear = decided(shares)
    assert result.dtype == dtype and result.shape == dst.shape
    assert clear.mean() > 0.9 or not clear.size
    np.testing.assert_array_equal(result[clear], values[shares.argmax(axis=0)][clear])


def test_no_holes_between_touching_labels() -> None:
    src = Grid((20, 18, 16), np.diag([2.0, 2, 2, 1]))
    lm = np.zeros(src.shape, np.uint8)
    corner = np.array([0, 9]), np.array([0, 8]), np.array([0, 7])
    for label, (x, y, z) in enumerate(np.stack(np.meshgrid(*corner), -1).reshape(-1, 3), start=1):
        lm[x : x + 11, y : y + 10, z : z + 9] = label
    lm[-1:], lm[:, -1:], lm[:, :, -1:] = lm[-2:-1], lm[:, -2:-1], lm[:, :, -2:-1]
    assert lm.all()
    for spacing in ((0.7, 0.9, 1.1), (3.0, 2.9, 2.5)):
        assert resample_labels(lm, src, resampled_grid(src, spacing)).all()


def test_empty_and_full_label_maps() -> None:
    src = oblique_grid()
    dst = resampled_grid(src, (1, 1, 1))
    for value in (0, 9):
        result = resample_labels(np.full(SHAPE, value, np.uint8), src, dst)
        assert result.shape == dst.shape and (result == value).all()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("slab", [6, 64])
def test_scores_equal_the_argmax_of_whole_volumes(spacing: tuple[float, float, float], slab: int) -> None:
    src = oblique_grid()
    dst = resampled_grid(src, spacing)
    # few channels lead anywhere; the last two matter between voxels only, or never
    scores = np.stack([smooth(seed) for seed in range(6)])
    scores[4] = np.sort(scores[:4], axis=0)[-1] * 0.98 - 0.1
    scores[5] = scores.min() - 1
    result = resample_probabilities_slabwise(scores, src, dst, slab)
    whole = np.stack([brute_force(s, src, dst, "triangle") for s in scores])
    clear = decided(whole / 100)
    assert result.dtype == np.uint8 and clear.mean() > 0.9
    np.testing.assert_array_equal(result[clear], whole.argmax(axis=0)[clear])


def test_a_channel_that_leads_between_voxels_only() -> None:
    src = Grid((2, 1, 1), np.eye(4))
    dst = Grid((3, 1, 1), np.diag([0.5, 1, 1, 1]))
    scores = np.array([[0.5, 0.05], [0.45, 0.45], [0.05, 0.5]]).reshape(3, 2, 1, 1)
    assert resample_probabilities_slabwise(scores, src, dst).ravel().tolist() == [0, 1, 2]


def test_many_channels_need_uint16_and_little_memory() -> None:
    src = Grid((12, 10, 9), np.diag([4.0, 4, 4, 1]))
    dst = resampled_grid(src, (0.4, 0.4, 0.4))
    scores = np.random.default_rng(0).random((260, *src.shape), np.float32)
    tracemalloc.start()
    result = resample_probabilities_slabwise(scores, src, dst, 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.dtype == np.uint16 and result.max() > 255
    one_channel = result.size * 4
    assert peak < result.nbytes + one_channel, "a float32 volume of the destination's size was allocated"


def test_axes_that_are_not_parallel() -> None:
    with pytest.raises(GeometryError):
        resample_image(smooth(), oblique_grid(), Grid(SHAPE, np.diag([1.0, 1, 1, 1])))
