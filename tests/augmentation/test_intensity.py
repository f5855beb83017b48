from __future__ import annotations

import numpy as np
import pytest
import torch

from fran.augmentation import intensity

SHAPE = (16, 15, 14)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_gamma_keeps_mean_and_std_and_bends(exponent, invert):
    image = torch.randn(1, *SHAPE)
    bent = intensity.gamma(image.clone(), exponent, invert=invert)
    torch.testing.assert_close(bent.mean(), image.mean(), atol=1e-4, rtol=0)
    torch.testing.assert_close(bent.std(), image.std(), atol=1e-4, rtol=1e-4)
    assert (bent - image).abs().max() > 0.05
    assert torch.equal(bent.view(-1).argsort()[-5:], image.view(-1).argsort()[-5:]), "the order of the values stays"


def test_gamma_follows_its_formula():
    image = torch.rand(1, *SHAPE) * 3 - 1
    scaled = (image - image.min()) / (image.max() - image.min())
    expected = scaled**1.3
    expected = (expected - expected.mean()) / expected.std() * image.std() + image.mean()
    torch.testing.assert_close(intensity.gamma(image.clone(), 1.3), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.5, 0.6, 1.0, 2.0])
def test_blur_equals_scipy(sigma):
    from scipy.ndimage import gaussian_filter

    image = torch.randn(2, *SHAPE)
    blurred = intensity.blur(image.clone(), sigma)
    for channel, found in zip(image, blurred, strict=True):
        expected = gaussian_filter(channel.numpy(), sigma, mode="nearest", radius=int(np.ceil(3 * sigma)))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_contrast_stays_in_range():
    image = torch.rand(1, *SHAPE)
    assert intensity.contrast(image.clone(), 1.25).min() >= image.min()
    flat = intensity.contrast(image.clone(), 0.75)
    assert flat.std() == pytest.approx(0.75 * float(image.std()), rel=1e-3)
    assert flat.mean() == pytest.approx(float(image.mean()), abs=1e-4)


def test_noise_has_its_std_and_follows_its_seed():
    image = torch.rand(1, *SHAPE)
    noisy = intensity.noise(image.clone(), 0.3, 2)
    assert float((noisy - image).std()) == pytest.approx(0.3, rel=0.05)
    assert not torch.equal(noisy, intensity.noise(image.clone(), 0.3, 3))


def test_brightness_multiplies_and_shift_adds():
    image = torch.rand(1, *SHAPE)
    torch.testing.assert_close(intensity.brightness(image.clone(), 1.2), image * 1.2)
    torch.testing.assert_close(intensity.shift(image.clone(), -0.2), image - 0.2)


def test_low_resolution_has_fewer_distinct_steps():
    image = torch.randn(1, *SHAPE)
    coarse = intensity.low_resolution(image.clone(), 0.5)
    assert coarse.diff(dim=2).abs().mean() < 0.7 * image.diff(dim=2).abs().mean()
    torch.testing.assert_close(intensity.low_resolution(image.clone(), 1.0), image)


@pytest.mark.parametrize("operation", ["contrast", "gamma", "blur"])
def test_a_constant_image_stays(operation):
    image = torch.full((1, *SHAPE), 0.7)
    torch.testing.assert_close(getattr(intensity, operation)(image.clone(), 0.8), image)
