"""Intensity operations on a batch, one drawn parameter per sample.

All take a float image (B, C, x, y, z), normalised, and return a new one of the same shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_SPATIAL = (1, 2, 3, 4)
_TINY = 1e-7


def _column(values: Tensor, image: Tensor) -> Tensor:
    return values.to(image).view(-1, 1, 1, 1, 1)


def noise(image: Tensor, std: Tensor, seeds: list[int]) -> Tensor:
    """Add white noise of standard deviation `std` (B,), reproducible from `seeds` on one kind of device."""
    fields = []
    for seed in seeds:
        generator = torch.Generator(image.device).manual_seed(seed)
        fields.append(torch.randn(image.shape[1:], generator=generator, device=image.device, dtype=image.dtype))
    return torch.addcmul(image, torch.stack(fields), _column(std, image))


def brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor` (B,)."""
    return image * _column(factor, image)


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from each sample's mean by `factor` (B,) and clip to the sample's former range."""
    mean = image.mean(_SPATIAL, keepdim=True)
    low, high = image.amin(_SPATIAL, keepdim=True), image.amax(_SPATIAL, keepdim=True)
    stretched = (image - mean).mul_(_column(factor, image)).add_(mean)
    return torch.minimum(torch.maximum(stretched, low), high)


def gamma(image: Tensor, exponent: Tensor, *, invert: bool = False) -> Tensor:
    """Raise the image, scaled to 0..1, to `exponent` (B,); each sample keeps its mean and standard deviation."""
    source = -image if invert else image
    mean, std = source.mean(_SPATIAL, keepdim=True), source.std(_SPATIAL, keepdim=True)
    low = source.amin(_SPATIAL, keepdim=True)
    width = (source.amax(_SPATIAL, keepdim=True) - low).clamp_min_(_TINY)
    bent = ((source - low) / width).clamp_min_(_TINY).pow_(_column(exponent, image))
    bent_std = bent.std(_SPATIAL, keepdim=True).clamp_min_(_TINY)
    result = (bent - bent.mean(_SPATIAL, keepdim=True)).mul_(std / bent_std).add_(mean)
    return result.neg_() if invert else result


def blur(image: Tensor, sigma_vox: Tensor) -> Tensor:
    """Separable Gaussian blur with `sigma_vox` (B,) voxels, truncated at three sigma of the largest."""
    radius = max(1, math.ceil(3 * float(sigma_vox.max())))
    reach = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (reach / sigma_vox.to(image)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    batch, channels = image.shape[:2]
    # samples become groups, so that each keeps its own kernel
    result = image.reshape(1, batch * channels, *image.shape[2:])
    weight = kernel.repeat_interleave(channels, 0)
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = 2 * radius + 1
        pad = [0] * 6
        pad[4 - 2 * axis] = pad[5 - 2 * axis] = radius
        padded = functional.pad(result, pad, mode="replicate")
        result = functional.conv3d(padded, weight.view(-1, 1, *shape), groups=batch * channels)
    return result.view_as(image)


def low_resolution(image: Tensor, factor: Tensor) -> Tensor:
    """Shrink each sample by `factor` (B,) with nearest neighbours and enlarge it linearly to its former size."""
    rows = []
    for row, zoom in zip(image, factor.tolist(), strict=True):
        small = [max(1, round(n * zoom)) for n in row.shape[1:]]
        shrunk = functional.interpolate(row[None], size=small, mode="nearest-exact")
        rows.append(functional.interpolate(shrunk, size=row.shape[1:], mode="trilinear", align_corners=False)[0])
    return torch.stack(rows)
