"""What is drawn for one sample: its parameters follow from the settings and the sample's seed alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fran.augmentation.settings import AugmentationSettings

_N_UNIFORM = 64
_N_SPATIAL = 24
INTENSITY = (
    ("noise", "noise_p", "noise_std"),
    ("blur", "blur_p", "blur_sigma_vox"),
    ("brightness", "brightness_p", "brightness_range"),
    ("contrast", "contrast_p", "contrast_range"),
    ("low_resolution", "lowres_p", "lowres_range"),
    ("gamma_inverted", "gamma_invert_p", "gamma_range"),
    ("gamma", "gamma_p", "gamma_range"),
    ("shift", "shift_p", "shift_range"),
)
"""Operation, setting of its probability, setting of its range. Each has its place among a sample's random numbers, so a
new one goes to the end."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Movement:
    """A movement of the image content about the centre of the patch.

    Attributes:
        angles_rad: about x, then y, then z.
        zoom: above 1 enlarges.
        shear: displacement per mm: of x along y, of x along z, of y along z.
        shift_mm: along x, y, z, after the rest.
    """

    angles_rad: Triple = (0.0, 0.0, 0.0)
    zoom: float = 1.0
    shear: Triple = (0.0, 0.0, 0.0)
    shift_mm: Triple = (0.0, 0.0, 0.0)


STILL = Movement()


@dataclass(frozen=True)
class SampleDraws:
    """Everything drawn for one sample.

    Attributes:
        seed: of the sample.
        movement: `STILL` where no spatial operation but mirroring was drawn.
        flips: axes to mirror.
        intensity: parameter by operation; only those drawn.
    """

    seed: int
    movement: Movement
    flips: tuple[int, ...]
    intensity: dict[str, float]


@dataclass(frozen=True)
class Limits:
    """Largest angles and shears once the spacing is known, see `fran.augmentation.spatial.limits`."""

    angles_rad: Triple
    shear: Triple


def draw_sample(settings: AugmentationSettings, limits: Limits, seed: int) -> SampleDraws:
    """Parameters of the sample with this seed."""
    # one block of numbers a sample keeps every operation independent of the others' probabilities
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(_N_UNIFORM, generator=generator, dtype=torch.float64).tolist()
    flips = tuple(axis for axis in range(3) if uniform[10 + axis] < settings.flip_p[axis])
    intensity = {}
    for number, (name, probability, bounds) in enumerate(INTENSITY):
        chance, place = uniform[_N_SPATIAL + 2 * number : _N_SPATIAL + 2 * number + 2]
        if chance < getattr(settings, probability):
            intensity[name] = _between(place, getattr(settings, bounds))
    return SampleDraws(seed, _movement(settings, limits, uniform), flips, intensity)


def _movement(settings: AugmentationSettings, limits: Limits, u: list[float]) -> Movement:
    s, still = settings, STILL
    found = Movement(
        _around_zero(u[1:4], limits.angles_rad) if u[0] < s.rotation_p else still.angles_rad,
        _between(u[5], s.scale_range) if u[4] < s.scale_p else still.zoom,
        _around_zero(u[14:17], limits.shear) if u[13] < s.shear_p else still.shear,
        _around_zero(u[7:10], s.translation_mm) if u[6] < s.translation_p else still.shift_mm,
    )
    return still if found == still else found


def _around_zero(u: list[float], largest: Triple | list[float]) -> Triple:
    x, y, z = ((2 * v - 1) * most for v, most in zip(u, largest, strict=True))
    return x, y, z


def _between(u: float, bounds: float | list[float]) -> float:
    low, high = bounds if isinstance(bounds, list) else (0.0, bounds)
    return low + u * (high - low)
