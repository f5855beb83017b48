from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fran.augmentation import intensity, spatial
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.settings import AugmentationSettings, no_augmentation, safe_flips
from fran.errors import ConfigError

SPACING = (1.0, 1.0, 2.5)
SHAPE = (14, 11, 9)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 1, *SHAPE, generator=generator)
    lm = torch.randint(0, 3, (3, 1, *SHAPE), generator=generator, dtype=torch.uint8)
    return image, lm, torch.tensor([-2.0, -3.0, -4.0])


def everything() -> AugmentationSettings:
    settings = AugmentationSettings(translation_mm=[2.0, 2.0, 2.0])
    for name, value in vars(settings).items():
        if name.endswith("_p") and isinstance(value, float):
            setattr(settings, name, 0.6)
    return settings


def test_nothing_drawn_returns_the_very_tensors(batch):
    image, lm, floor = batch
    moved, labels = BatchAugmentation(no_augmentation(), SPACING)(image, lm, [1, 2, 3], floor)
    assert moved is image
    assert labels is lm


def test_a_sample_does_not_depend_on_its_neighbours(batch):
    image, lm, floor = batch
    augment = BatchAugmentation(everything(), SPACING)
    together = augment(image, lm, [5, 6, 7], floor)
    for i, seed in enumerate([5, 6, 7]):
        alone = augment(image[i : i + 1], lm[i : i + 1], [seed], floor[i : i + 1])
        torch.testing.assert_close(alone[0][0], together[0][i])
        assert torch.equal(alone[1][0], together[1][i])
    other = augment(image, lm, [8, 6, 7], floor)
    assert not torch.equal(other[0][0], together[0][0])


def test_inputs_are_left_alone_and_types_kept(batch):
    image, lm, floor = batch
    before = image.clone(), lm.clone()
    moved, labels = BatchAugmentation(everything(), SPACING)(image, lm, [1, 2, 3], floor)
    assert torch.equal(image, before[0])
    assert torch.equal(lm, before[1])
    assert (moved.dtype, labels.dtype) == (torch.float32, torch.uint8)
    assert torch.isfinite(moved).all()
    assert int(labels.max()) <= 2


def test_probabilities_are_met():
    augment = BatchAugmentation(AugmentationSettings(), SPACING)
    draws = augment.draw(list(range(4000)))
    assert len(draws.rows["affine"]) / 4000 == pytest.approx(1 - 0.8 * 0.8, abs=0.03)
    assert len(draws.rows["gamma"]) / 4000 == pytest.approx(0.3, abs=0.03)
    assert len(draws.rows["flip1"]) / 4000 == pytest.approx(0.5, abs=0.03)


def test_quarter_turn_about_z_equals_rot90():
    image = torch.randn(1, 1, 12, 12, 5)
    lm = torch.randint(0, 3, (1, 1, 12, 12, 5), dtype=torch.uint8)
    matrix = spatial.rotation_matrix(torch.tensor([[0.0, 0.0, math.pi / 2]]))
    grid = spatial.resampling_grid(matrix, torch.zeros(1, 3), image.shape[2:], (0.7, 0.7, 3.0))
    moved, labels = spatial.resample(image, lm, grid, torch.zeros(1))
    # x -> y: positive rotation about z takes the first array axis to the second
    torch.testing.assert_close(moved, torch.rot90(image, 1, (2, 3)), atol=1e-4, rtol=0)
    assert torch.equal(labels, torch.rot90(lm, 1, (2, 3)))


def test_rotation_is_rigid_in_millimetres():
    """A voxel 6 mm from the centre along x lands 6 mm away along z, whatever the spacing."""
    image = torch.zeros(1, 1, 21, 5, 9)
    image[0, 0, 10 + 6, 2, 4] = 1  # +6 mm at 1 mm
    matrix = spatial.rotation_matrix(torch.tensor([[0.0, -math.pi / 2, 0.0]]))
    grid = spatial.resampling_grid(matrix, torch.zeros(1, 3), image.shape[2:], (1.0, 1.0, 2.0))
    moved, _ = spatial.resample(image, image.byte(), grid, torch.zeros(1))
    assert [int(i) for i in np.unravel_index(int(moved.argmax()), SHAPE_Z)] == [10, 2, 4 + 3]


SHAPE_Z = (21, 5, 9)


def test_shift_moves_content_by_millimetres_and_fills_with_floor():
    image = torch.randn(1, 1, 8, 7, 6)
    lm = torch.ones(1, 1, 8, 7, 6, dtype=torch.uint8)
    grid = spatial.resampling_grid(
        torch.eye(3)[None], torch.tensor([[0.0, 0.0, 5.0]]), image.shape[2:], (1.0, 1.0, 2.5)
    )
    moved, labels = spatial.resample(image, lm, grid, torch.tensor([-9.0]))
    torch.testing.assert_close(moved[..., 2:], image[..., :-2], atol=1e-4, rtol=0)
    assert torch.allclose(moved[..., :2], torch.tensor(-9.0))
    assert not labels[..., :2].any()


def test_thick_slices_keep_rotations_in_plane():
    angles = spatial.allowed_angles([30.0, 20.0, 10.0], (0.8, 0.8, 5.0), in_plane_above=3.0)
    assert angles.tolist() == pytest.approx([0, 0, math.radians(10)])
    assert all(spatial.allowed_angles([30.0, 20.0, 10.0], (0.8, 0.8, 1.5), in_plane_above=3.0) > 0)


def test_gamma_keeps_mean_and_std_and_bends():
    image = torch.randn(2, 1, *SHAPE)
    for invert in (False, True):
        bent = intensity.gamma(image, torch.tensor([0.7, 1.5]), invert=invert)
        torch.testing.assert_close(bent.mean((1, 2, 3, 4)), image.mean((1, 2, 3, 4)), atol=1e-4, rtol=0)
        torch.testing.assert_close(bent.std((1, 2, 3, 4)), image.std((1, 2, 3, 4)), atol=1e-4, rtol=1e-4)
        assert (bent - image).abs().max() > 0.05


def test_blur_equals_scipy_in_the_middle():
    from scipy.ndimage import gaussian_filter

    image = torch.randn(2, 1, 16, 15, 14)
    sigma = torch.tensor([0.6, 1.0])
    blurred = intensity.blur(image, sigma)
    for i in range(2):
        expected = gaussian_filter(image[i, 0].numpy(), float(sigma[i]), mode="nearest", radius=3)
        np.testing.assert_allclose(blurred[i, 0].numpy(), expected, atol=1e-5)


def test_contrast_stays_in_range_and_noise_has_its_std():
    image = torch.rand(2, 1, 20, 19, 18)
    stretched = intensity.contrast(image, torch.tensor([1.25, 0.75]))
    assert stretched.min() >= image.min()
    assert stretched[1].std() == pytest.approx(0.75 * float(image[1].std()), rel=1e-3)
    noisy = intensity.noise(image, torch.tensor([0.1, 0.3]), [1, 2])
    assert float((noisy - image)[1].std()) == pytest.approx(0.3, rel=0.05)


def test_low_resolution_has_fewer_distinct_steps():
    image = torch.randn(1, 1, 16, 12, 8)
    coarse = intensity.low_resolution(image, torch.tensor([0.5]))
    assert coarse.shape == image.shape
    assert coarse.diff(dim=2).abs().mean() < 0.7 * image.diff(dim=2).abs().mean()


def test_flips_skip_axes_that_labels_tell_apart():
    assert safe_flips([0.5] * 3, ["hippocampus-anterior", "Upper lobe"]) == [0.5, 0.0, 0.0]
    assert safe_flips([0.5] * 3, ["kidney", "leftover"]) == [0.5] * 3


def test_wrong_settings_are_all_named():
    with pytest.raises(ConfigError, match=r"(?s)rotation_deg.*scale_range.*noise_p|noise_p.*rotation_deg.*scale_range"):
        AugmentationSettings(noise_p=1.5, rotation_deg=[3.0], scale_range=[1.2, 0.8]).check()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_does_the_same_but_for_noise(batch):
    settings = everything()
    settings.noise_p = 0.0
    augment = BatchAugmentation(settings, SPACING)
    on_cpu = augment(*batch[:2], [1, 2, 3], batch[2])
    on_gpu = augment(batch[0].cuda(), batch[1].cuda(), [1, 2, 3], batch[2].cuda())
    torch.testing.assert_close(on_gpu[0].cpu(), on_cpu[0], atol=1e-3, rtol=1e-3)
    assert (on_gpu[1].cpu() != on_cpu[1]).float().mean() < 0.01
