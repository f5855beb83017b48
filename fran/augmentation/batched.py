"""Augmentation of a batch on the device it is on: the same code on a CPU and on a GPU.

Parameters are drawn on the CPU from one generator a sample, whose seed comes with the sample; so what a sample
becomes depends neither on its neighbours nor on the number of workers. Only the samples that drew an operation are
touched by it. Order and probabilities follow nnU-Net's (Isensee et al. 2021,
https://doi.org/10.1038/s41592-020-01008-z).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from fran.augmentation import intensity, spatial
from fran.augmentation.draws import STILL, SampleDraws, draw_sample
from fran.augmentation.resample import resample
from fran.augmentation.settings import AugmentationSettings

Vox = tuple[int, int, int]
Margins = tuple[Vox, Vox]
Wide = Mapping[int, tuple[Tensor, Tensor]]

OPERATIONS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "noise": intensity.noise,
    "blur": lambda image, sigma, _: intensity.blur(image, sigma),
    "brightness": lambda image, factor, _: intensity.brightness(image, factor),
    "shift": lambda image, amount, _: intensity.shift(image, amount),
    "contrast": lambda image, factor, _: intensity.contrast(image, factor),
    "low_resolution": lambda image, factor, _: intensity.low_resolution(image, factor),
    "gamma_inverted": lambda image, exponent, _: intensity.gamma(image, exponent, invert=True),
    "gamma": lambda image, exponent, _: intensity.gamma(image, exponent),
}
"""In the order in which they are applied: (image, drawn parameter, seed of the sample) to image, in place."""


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
        s = settings
        self.limits = spatial.limits(s.rotation_deg, s.shear_deg, spacing_mm, s.in_plane_above)

    def __call__(
        self, image: Tensor, lm: Tensor, seeds: Sequence[int], floor: Tensor, wide: Wide | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augmented copies; tensors that nothing was drawn for come back as they are.

        Args:
            image: (B, C, x, y, z) float, normalised.
            lm: (B, 1, x, y, z) unsigned integer channel indices.
            seeds: one per sample.
            floor: (B,) image value outside the volume.
            wide: row to image (C, X, Y, Z) and label map (1, X, Y, Z) of the patch with its `margins` around it, for
                samples that move. Without it the floor and background come in from outside the patch.
        """
        draws = [self.draw(seed) for seed in seeds]
        if any(d.movement is not STILL or d.flips or d.intensity for d in draws):
            image = image.clone()
        if any(d.movement is not STILL or d.flips for d in draws):
            lm = lm.clone()
        for row, drawn in enumerate(draws):
            source = (wide or {}).get(row)
            self._move(image[row], lm[row], drawn, floor[row], source)
            for name, operation in OPERATIONS.items():
                if name in drawn.intensity:
                    operation(image[row], drawn.intensity[name], drawn.seed)
            if drawn.flips:
                axes = [axis + 1 for axis in drawn.flips]
                image[row] = image[row].flip(axes)
                lm[row] = lm[row].flip(axes)
        return image, lm

    def draw(self, seed: int) -> SampleDraws:
        """Parameters of the sample with this seed."""
        return draw_sample(self.settings, self.limits, seed)

    def margins(self, seed: int, size: Vox) -> Margins | None:
        """Voxels before and after a patch of `size` that the sample with this seed draws in; None for none."""
        movement = self.draw(seed).movement
        if movement is STILL:
            return None
        found = spatial.reach(movement, size, self.spacing_mm)
        return found if any(found[0]) or any(found[1]) else None

    def _move(
        self, image: Tensor, lm: Tensor, drawn: SampleDraws, floor: Tensor, wide: tuple[Tensor, Tensor] | None
    ) -> None:
        if drawn.movement is STILL:
            return
        size: Vox = (image.shape[1], image.shape[2], image.shape[3])
        matrix, offset = spatial.pull_back(drawn.movement, size, self.spacing_mm)
        source, source_lm = image, lm
        if wide is not None:
            source, source_lm = wide
            offset = offset + spatial.reach(drawn.movement, size, self.spacing_mm)[0]
        moved, moved_lm = resample(source, source_lm[0], matrix, offset, size, floor)
        image.copy_(moved)
        lm[0].copy_(moved_lm)
