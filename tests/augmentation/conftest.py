from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fran.augmentation.settings import AugmentationSettings, no_augmentation

SPACING = (1.0, 1.5, 2.5)
SHAPE = (26, 19, 14)
BLOB = 3.0
"""Intensity of the blob; everything else is between -1 and 1."""

ALWAYS: dict[str, dict[str, object]] = {
    "rotation": {"rotation_p": 1.0},
    "scale": {"scale_p": 1.0},
    "shear": {"shear_p": 1.0, "shear_deg": [20.0, 20.0, 20.0]},
    "translation": {"translation_p": 1.0, "translation_mm": [4.0, 4.0, 4.0]},
    "flip": {"flip_p": [1.0, 0.0, 1.0]},
    "noise": {"noise_p": 1.0},
    "blur": {"blur_p": 1.0},
    "brightness": {"brightness_p": 1.0},
    "shift": {"shift_p": 1.0},
    "contrast": {"contrast_p": 1.0},
    "lowres": {"lowres_p": 1.0},
    "gamma": {"gamma_p": 1.0},
    "gamma_invert": {"gamma_invert_p": 1.0},
}
"""Each operation alone, on every sample."""
MOVING = ("rotation", "scale", "shear", "translation", "flip")


def only(name: str) -> AugmentationSettings:
    """Settings with one operation, always."""
    settings = no_augmentation()
    for key, value in ALWAYS[name].items():
        setattr(settings, key, value)
    return settings


def everything() -> AugmentationSettings:
    """Every operation on most samples."""
    settings = AugmentationSettings(translation_mm=[2.0, 2.0, 2.0])
    for name, value in vars(settings).items():
        if name.endswith("_p") and isinstance(value, float):
            setattr(settings, name, 0.6)
    return settings


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Three samples: low noise with an off-centre bright blob that is label 1, label 2 elsewhere; and the floor."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 1, *SHAPE, generator=generator) * 0.2 - 0.1
    lm = torch.zeros(3, 1, *SHAPE, dtype=torch.uint8)
    for row in range(3):
        box = (row, 0, slice(8 + row, 15 + row), slice(6, 12), slice(4, 9))
        image[box] = BLOB
        lm[box] = 1
        lm[row, 0, 2:5, 3:16, 3:11] = 2
    return image, lm, torch.tensor([-2.0, -3.0, -4.0])
