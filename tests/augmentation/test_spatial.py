from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from fran.augmentation import spatial
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.draws import Movement
from fran.augmentation.resample import resample
from tests.augmentation.conftest import SPACING, only

RIGHT = math.pi / 2
angles = st.tuples(*[st.floats(-0.6, 0.6)] * 3)
movements = st.builds(
    Movement, angles, st.floats(0.6, 1.6), st.tuples(*[st.floats(-0.3, 0.3)] * 3), st.tuples(*[st.floats(-5, 5)] * 3)
)


def moved(image, lm, movement, spacing_mm, floor=0.0):
    size = tuple(image.shape[1:])
    matrix, offset = spatial.pull_back(movement, size, spacing_mm)
    return resample(image, lm, matrix, offset, size, torch.tensor(floor))


def test_quarter_turn_about_z_equals_rot90():
    image, lm = torch.randn(2, 12, 12, 5), torch.randint(0, 3, (12, 12, 5), dtype=torch.uint8)
    turned, labels = moved(image, lm, Movement((0, 0, RIGHT)), (0.7, 0.7, 3.0))
    # x -> y: positive rotation about z takes the first array axis to the second
    torch.testing.assert_close(turned, torch.rot90(image, 1, (1, 2)), atol=1e-4, rtol=0)
    assert torch.equal(labels, torch.rot90(lm, 1, (0, 1)))


def test_rotation_is_rigid_in_millimetres():
    """A voxel 6 mm from the centre along x lands 6 mm away along z, whatever the spacing."""
    image = torch.zeros(1, 21, 5, 9)
    image[0, 10 + 6, 2, 4] = 1  # +6 mm at 1 mm
    turned, _ = moved(image, image[0].byte(), Movement((0, -RIGHT, 0)), (1.0, 1.0, 2.0))
    assert [int(i) for i in np.unravel_index(int(turned.argmax()), (21, 5, 9))] == [10, 2, 4 + 3]


def test_shift_moves_content_by_millimetres_and_fills_with_the_floor():
    image, lm = torch.randn(1, 8, 7, 6), torch.ones(8, 7, 6, dtype=torch.uint8)
    shifted, labels = moved(image, lm, Movement(shift_mm=(0, 0, 5.0)), (1.0, 1.0, 2.5), -9.0)
    torch.testing.assert_close(shifted[..., 2:], image[..., :-2], atol=1e-4, rtol=0)
    assert torch.allclose(shifted[..., :1], torch.tensor(-9.0))
    assert not labels[..., :2].any() and labels[..., 2:].all()


def test_shear_moves_x_along_y_in_millimetres():
    image = torch.zeros(1, 15, 9, 3)
    image[0, 7, 8, 1] = 1  # 4 voxels of 2 mm above the centre in y
    sheared, _ = moved(image, image[0].byte(), Movement(shear=(0.5, 0, 0)), (1.0, 2.0, 1.0))
    assert [int(i) for i in np.unravel_index(int(sheared.argmax()), (15, 9, 3))] == [7 + 4, 8, 1]


@given(movements)
def test_it_is_grid_sample_with_another_fill(movement):
    generator = torch.Generator().manual_seed(1)
    size, spacing = (11, 9, 7), SPACING
    image = torch.randn(1, *size, generator=generator)
    matrix, offset = spatial.pull_back(movement, size, spacing)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1) @ matrix.T + offset
    grid = torch.from_numpy((2 * places[..., ::-1] + 1) / np.array(size[::-1]) - 1).float()[None]
    expected = functional.grid_sample(image[None] - 5, grid, "bilinear", "zeros", align_corners=False)[0] + 5
    found, _ = resample(image, image[0].byte(), matrix, offset, size, torch.tensor(5.0))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


@given(movements, st.integers(2, 9))
def test_labels_are_the_largest_interpolated_indicator(movement, n_labels):
    generator = torch.Generator().manual_seed(2)
    size = (11, 9, 7)
    lm = torch.randint(0, n_labels, size, generator=generator, dtype=torch.uint8)
    matrix, offset = spatial.pull_back(movement, size, SPACING)
    nothing, everywhere = torch.tensor(0.0), torch.tensor(1.0)
    scores = [
        resample((lm == v).float()[None], lm, matrix, offset, size, everywhere if v == 0 else nothing)[0][0]
        for v in range(n_labels)
    ]
    ranked = torch.stack(scores).sort(0, descending=True)
    clear = ranked.values[0] - ranked.values[1] > 1e-3
    found = resample(lm.float()[None], lm, matrix, offset, size, nothing)[1]
    assert torch.equal(found[clear], ranked.indices[0].byte()[clear])


@given(movements)
def test_reach_covers_every_source_voxel_and_no_more(movement):
    size = (12, 9, 7)
    matrix, offset = spatial.pull_back(movement, size, SPACING)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1).reshape(-1, 3) @ matrix.T + offset
    before, after = spatial.reach(movement, size, SPACING)
    last = np.array(size) - 1
    assert (places.min(0) >= -np.array(before) - 1e-5).all()
    assert (places.max(0) <= last + np.array(after) + 1e-5).all()
    spare = np.array([*(places.min(0) + before), *(last + np.array(after) - places.max(0))])
    assert (spare[np.array([*before, *after]) > 0] < 1).all()


@pytest.mark.parametrize("name", ["rotation", "scale", "shear", "translation"])
def test_surroundings_come_in_instead_of_the_floor(name):
    """A patch moved with its margins is the middle of the whole volume moved the same way."""
    generator = torch.Generator().manual_seed(3)
    size, low = (18, 15, 12), (16, 14, 12)
    volume = torch.randn(1, *(n + 2 * a for n, a in zip(size, low, strict=True)), generator=generator)
    labels = torch.randint(0, 4, volume.shape, generator=generator, dtype=torch.uint8)
    inner = (slice(None), *(slice(a, a + n) for a, n in zip(low, size, strict=True)))
    augment = BatchAugmentation(only(name), SPACING)
    seed = next(s for s in range(99) if augment.margins(s, size))
    before, after = augment.margins(seed, size)
    box = (slice(None), *(slice(a - b, a + n + c) for a, b, n, c in zip(low, before, size, after, strict=True)))
    floor = torch.tensor([-50.0])
    image, lm = volume[inner][None], labels[inner][None]
    found, found_lm = augment(image, lm, [seed], floor, {0: (volume[box], labels[box])})
    whole, whole_lm = augment(volume[None], labels[None], [seed], floor)
    torch.testing.assert_close(found[0], whole[0][inner], atol=1e-3, rtol=0)
    assert (found_lm[0] != whole_lm[0][inner]).float().mean() < 1e-3
    assert augment(image, lm, [seed], floor)[0].min() < -10, "without them the floor comes in"


def test_samples_that_stay_or_draw_nothing_in_have_no_margins():
    larger = only("scale")
    larger.scale_range = [1.3, 1.4]
    assert BatchAugmentation(larger, SPACING).margins(1, (8, 8, 8)) is None
    assert BatchAugmentation(only("noise"), SPACING).margins(1, (8, 8, 8)) is None


def test_thick_slices_keep_movements_in_plane():
    thick = spatial.limits([30.0, 20.0, 10.0], [5.0, 6.0, 7.0], (0.8, 0.8, 5.0), in_plane_above=3.0)
    assert thick.angles_rad == pytest.approx((0, 0, math.radians(10)))
    assert thick.shear == pytest.approx((math.tan(math.radians(5)), 0, 0))
    thin = spatial.limits([30.0, 20.0, 10.0], [5.0, 6.0, 7.0], (0.8, 0.8, 1.5), in_plane_above=3.0)
    assert all(thin.angles_rad) and all(thin.shear)


def test_thin_and_single_planes_can_move():
    image, lm = torch.randn(1, 6, 5, 1), torch.ones(6, 5, 1, dtype=torch.uint8)
    turned, labels = moved(image, lm, Movement((0, 0, math.pi)), SPACING)
    torch.testing.assert_close(turned, image.flip(1, 2), atol=1e-4, rtol=0)
    assert labels.all()
