from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from .raw_pairs import AFFINE, Writer, image_array, lm_array, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty datasource folder."""
    made = tmp_path / "raw"
    for side in ("images", "lms"):
        (made / side).mkdir(parents=True)
    return made


@pytest.fixture
def pair(folder: Path) -> Writer:
    """Write one good pair, or one with other arrays or affines."""

    def write(
        name: str,
        image: NDArray[Any] | None = None,
        lm: NDArray[Any] | None = None,
        affine: NDArray[Any] = AFFINE,
        lm_affine: NDArray[Any] | None = None,
    ) -> tuple[Path, Path]:
        number = int("".join(c for c in name if c.isdigit()) or 0)
        return (
            save(folder / "images" / f"{name}.nii.gz", image_array(number) if image is None else image, affine),
            save(
                folder / "lms" / f"{name}.nii.gz",
                lm_array() if lm is None else lm,
                affine if lm_affine is None else lm_affine,
            ),
        )

    return write
