"""Arrays and files that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

AFFINE = np.array([[-1.2, 0.1, 0.0, 30.0], [0.1, 1.2, 0.0, -12.5], [0.0, 0.0, 2.5, 7.0], [0.0, 0.0, 0.0, 1.0]])
SHAPE = (7, 9, 11)

Writer = Callable[..., tuple[Path, Path]]


def image_array(seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 900, SHAPE).astype(np.int16)


def lm_array() -> NDArray[np.uint8]:
    lm = np.zeros(SHAPE, np.uint8)
    lm[1:4, 2:6, 3:9] = 1
    lm[5, 6:8, 2:5] = 2
    return lm


def save(path: Path, array: NDArray[Any], affine: NDArray[Any] = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path
