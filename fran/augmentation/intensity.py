"""Intensity operations on one sample, in place.

All take a float image (C, x, y, z), normalised, change it and return it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-7
_NOISE_STREAM = 0x5DEECE66D


def noise(image: Tensor, std: float, seed: int) -> Tensor:
    """Add white noise of standard deviation `std`, reproducible from `seed` on one kind of device."""
    generator = torch.Generator(image.device).manual_seed(seed ^ _NOISE_STREAM)
    field = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image.add_(field, alpha=std)


def brightness(image: Tensor, factor: float) -> Tensor:
    """Multiply by `factor`."""
    return image.mul_(factor)


def shift(image: Tensor, amount: float) -> Tensor:
    """Add `amount`."""
    return image.add_(amount)


def contrast(image: Tensor, factor: float) -> Tensor:
    """Multiply the distance from the mean by `factor` and clip to the former range."""
    low, high = torch.aminmax(image)
    mean = image.mean()
    return image.sub_(mean).mul_(factor).add_(mean).clamp_(low, high)


def gamma(image: Tensor, exponent: float, *, invert: bool = False) -> Tensor:
    """Raise the image, scaled to 0..1, to `exponent`; mean and standard deviation stay."""
    if invert:
        image.neg_()
    mean, std = image.mean(), image.std()
    low, high = torch.aminmax(image)
    # exp(log) because pow takes twice the time of the two
    bent = image.sub_(low).div_((high - low).clamp_min_(_TINY)).clamp_min_(_TINY).log_().mul_(exponent).exp_()
    # torch.std_mean would be one call, and takes five times as long on a CPU
    bent.mul_(std / bent.std().clamp_min_(_TINY))
    bent.add_(mean - bent.mean())
    return bent.neg_() if invert else bent


def blur(image: Tensor, sigma_vox: float) -> Tensor:
    """Separable Gaussian blur, truncated at three sigma; beyond the border the border's values go on.

    Each axis is one product with a banded matrix, which is faster than a convolution of one channel.
    """
    x, y, z = image.shape[1:]
    for_x, for_y, for_z = (_blur_matrix(n, sigma_vox).to(image) for n in (x, y, z))
    result = torch.matmul(for_y, image @ for_z.T)
    return image.copy_(torch.matmul(for_x, result.reshape(-1, x, y * z)).view_as(image))


def _blur_matrix(n: int, sigma_vox: float) -> Tensor:
    """(n, n) matrix that blurs a line of n voxels."""
    radius = max(1, math.ceil(3 * sigma_vox))
    reach = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (reach / sigma_vox) ** 2)
    source = (torch.arange(n)[:, None] + torch.arange(-radius, radius + 1)).clamp_(0, n - 1)
    return torch.zeros(n, n).scatter_add_(1, source, (kernel / kernel.sum()).expand(n, -1))


def low_resolution(image: Tensor, factor: float) -> Tensor:
    """Shrink by `factor` with nearest neighbours and enlarge linearly to the former size."""
    size = image.shape[1:]
    small = functional.interpolate(image[None], size=[max(1, round(n * factor)) for n in size], mode="nearest-exact")
    return image.copy_(functional.interpolate(small, size=size, mode="trilinear", align_corners=False)[0])
