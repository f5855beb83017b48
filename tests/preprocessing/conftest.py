from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fran.io.files import file_digest
from fran.preprocessing.stages.source import CaseJob

SHAPE = (24, 19, 14)
SPACING_MM = (1.0, 1.3, 2.2)


def blobs(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Two touching smooth blobs of different sizes, labels 1 and 3, away from the centre."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    lm = np.zeros(shape, np.uint8)
    lm[((x + 0.15) / 0.7) ** 2 + ((y - 0.1) / 0.75) ** 2 + ((z + 0.05) / 0.8) ** 2 < 1] = 1
    lm[(lm == 1) & (x + 0.5 * y > 0.1)] = 3
    return lm


def hounsfield(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-40, 40, shape)
    return (noise + 100 * blobs(shape).astype(np.int16) - 100).astype(np.int16)


MakeCase = Callable[..., CaseJob]


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    """Write one raw case and return its job; the affine is diagonal unless given."""

    def make(
        case_id: str = "a1",
        *,
        image: np.ndarray | None = None,
        lm: np.ndarray | None = None,
        affine: np.ndarray | None = None,
        modality: str = "CT",
    ) -> CaseJob:
        lm = blobs() if lm is None else lm
        image = hounsfield(lm.shape, seed=sum(map(ord, case_id))) if image is None else image
        affine = np.diag([*SPACING_MM, 1.0]) if affine is None else affine
        paths = [tmp_path / "raw" / kind / f"kits_{case_id}.nii.gz" for kind in ("images", "lms")]
        for path, array in zip(paths, (image, lm), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), path)
        digests = [file_digest(path) for path in paths]
        return CaseJob(case_id, paths[0], paths[1], digests[0], digests[1], modality, "kits")

    return make
