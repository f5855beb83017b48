"""Batched augmentation on the device of the batch: the same code on a CPU and on a GPU.

Parameters are drawn on the CPU from one generator a sample, whose seed comes with the sample; so what a sample
becomes depends neither on its neighbours nor on the number of workers. Operations work only on the samples that drew
them and are skipped where none did. Order and probabilities follow nnU-Net's (Isensee et al. 2021,
https://doi.org/10.1038/s41592-020-01008-z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fran.augmentation import intensity, spatial
from fran.augmentation.settings import AugmentationSettings

_NOISE_STREAM = 0x5DEECE66D


@dataclass
class Draws:
    """Parameters of a batch: per operation the samples that drew it and their values."""

    seeds: list[int]
    rows: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, list[list[float]]] = field(default_factory=dict)

    def add(self, name: str, row: int, values: list[float]) -> None:
        """Note that sample `row` drew operation `name`."""
        self.rows.setdefault(name, []).append(row)
        self.values.setdefault(name, []).append(values)


class BatchAugmentation:
    """Augment image and label map of a batch.

    Args:
        settings: what to draw.
        spacing_mm: (x, y, z) of the patches.
    """

    def __init__(self, settings: AugmentationSettings, spacing_mm: tuple[float, float, float]) -> None:
        settings.check()
        self.settings = settings
        self.spacing_mm = spacing_mm
        self.angles_rad = spatial.allowed_angles(settings.rotation_deg, spacing_mm, settings.in_plane_above)

    def __call__(self, image: Tensor, lm: Tensor, seeds: list[int], floor: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented copies; tensors that nothing was drawn for come back as they are.

        Args:
            image: (B, C, x, y, z) float, normalised.
            lm: (B, 1, x, y, z) unsigned integer channel indices.
            seeds: one per sample.
            floor: (B,) image value outside the volume.
        """
        draws = self.draw(seeds)
        image, lm = self._move(image, lm, draws, floor)
        image = self._recolour(image, draws)
        return self._flip(image, lm, draws)

    def draw(self, seeds: list[int]) -> Draws:
        """Parameters for samples with these seeds."""
        draws = Draws(seeds)
        for row, seed in enumerate(seeds):
            # one block of numbers a sample keeps every operation independent of the others' probabilities
            uniform = torch.rand(64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
            self._draw_spatial(draws, row, uniform[:24])
            self._draw_intensity(draws, row, uniform[24:])
        return draws

    def _draw_spatial(self, draws: Draws, row: int, u: list[float]) -> None:
        s = self.settings
        angles, zoom, shift = [0.0] * 3, 1.0, [0.0] * 3
        if u[0] < s.rotation_p:
            angles = [(2 * v - 1) * float(a) for v, a in zip(u[1:4], self.angles_rad, strict=True)]
        if u[4] < s.scale_p:
            zoom = _between(u[5], s.scale_range)
        if u[6] < s.translation_p:
            shift = [(2 * v - 1) * t for v, t in zip(u[7:10], s.translation_mm, strict=True)]
        if any(angles) or zoom != 1.0 or any(shift):
            draws.add("affine", row, [*angles, zoom, *shift])
        for axis in range(3):
            if u[10 + axis] < s.flip_p[axis]:
                draws.add(f"flip{axis}", row, [])

    def _draw_intensity(self, draws: Draws, row: int, u: list[float]) -> None:
        s = self.settings
        table: tuple[tuple[str, float, list[float]], ...] = (
            ("noise", s.noise_p, [0.0, s.noise_std]),
            ("blur", s.blur_p, s.blur_sigma_vox),
            ("brightness", s.brightness_p, s.brightness_range),
            ("contrast", s.contrast_p, s.contrast_range),
            ("low_resolution", s.lowres_p, s.lowres_range),
            ("gamma_inverted", s.gamma_invert_p, s.gamma_range),
            ("gamma", s.gamma_p, s.gamma_range),
        )
        for number, (name, probability, bounds) in enumerate(table):
            if u[2 * number] < probability:
                draws.add(name, row, [_between(u[2 * number + 1], bounds)])

    def _move(self, image: Tensor, lm: Tensor, draws: Draws, floor: Tensor) -> tuple[Tensor, Tensor]:
        rows = draws.rows.get("affine")
        if not rows:
            return image, lm
        drawn = torch.tensor(draws.values["affine"], dtype=torch.float32)
        matrix = spatial.rotation_matrix(drawn[:, :3]) * drawn[:, 3, None, None]
        matrix, shift = matrix.to(image.device), drawn[:, 4:].to(image.device)
        grid = spatial.resampling_grid(matrix, shift, image.shape[2:], self.spacing_mm)
        moved, moved_lm = spatial.resample(image[rows], lm[rows], grid, floor[rows])
        return _put(image, rows, moved), _put(lm, rows, moved_lm)

    def _recolour(self, image: Tensor, draws: Draws) -> Tensor:
        operations: dict[str, Callable[[Tensor, Tensor, list[int]], Tensor]] = {
            "noise": lambda x, value, seeds: intensity.noise(x, value, [seed ^ _NOISE_STREAM for seed in seeds]),
            "blur": lambda x, value, _: intensity.blur(x, value),
            "brightness": lambda x, value, _: intensity.brightness(x, value),
            "contrast": lambda x, value, _: intensity.contrast(x, value),
            "low_resolution": lambda x, value, _: intensity.low_resolution(x, value),
            "gamma_inverted": lambda x, value, _: intensity.gamma(x, value, invert=True),
            "gamma": lambda x, value, _: intensity.gamma(x, value),
        }
        for name, operation in operations.items():
            rows = draws.rows.get(name)
            if rows:
                value = torch.tensor(draws.values[name], dtype=torch.float32)[:, 0]
                image = _put(image, rows, operation(image[rows], value, [draws.seeds[row] for row in rows]))
        return image

    def _flip(self, image: Tensor, lm: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        for axis in range(3):
            rows = draws.rows.get(f"flip{axis}")
            if rows:
                image = _put(image, rows, image[rows].flip(axis + 2))
                lm = _put(lm, rows, lm[rows].flip(axis + 2))
        return image, lm


def _between(u: float, bounds: list[float]) -> float:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _put(batch: Tensor, rows: list[int], changed: Tensor) -> Tensor:
    if len(rows) == len(batch):
        return changed
    result = batch.clone()
    result[rows] = changed
    return result
