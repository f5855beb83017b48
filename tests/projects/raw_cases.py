"""Tiny datasources that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

AFFINE = np.array([[0.9, 0.0, 0.0, -5.0], [0.0, 0.0, -2.0, 40.0], [0.0, 1.1, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]])


def write_cases(folder: Path, title: str, n: int, labels: tuple[int, ...] = (1, 2), start: int = 0) -> Path:
    """`n` pairs of 6 x 8 x 10 voxels; case k misses the last label where k is odd."""
    for side in ("images", "lms"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for k in range(start, start + n):
        rng = np.random.default_rng([k, *title.encode()])
        image = rng.integers(-900, 1200, (6, 8, 10)).astype(np.int16)
        lm = np.zeros((6, 8, 10), np.uint8)
        for place, label in enumerate(labels[: len(labels) - k % 2]):
            lm[1 + place : 3 + place, 2:5, 1 + k % 3 : 6] = label
        nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "images" / f"{title}_{k:02d}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(lm, AFFINE), folder / "lms" / f"{title}_{k:02d}.nii.gz")
    return folder
