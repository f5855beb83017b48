from __future__ import annotations

import csv
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from fran.reporting.sheet import SheetCase, tile_of, write_sheets

SPACING_MM = (1.0, 1.3, 2.2)


@pytest.fixture
def cases(tmp_path: Path) -> list[SheetCase]:
    """Two cases with a label in the slices 3 to 5, and one without."""
    made = []
    for number, values in enumerate([(1, 3), (3,), ()]):
        image = np.random.default_rng(number).integers(-100, 100, (20, 17, 9)).astype(np.int16)
        lm = np.zeros(image.shape, np.uint8)
        for value in values:
            lm[4 * value : 4 * value + 3, 5:12, 3:6] = value
        paths = [tmp_path / kind / f"kits_{number}.nii.gz" for kind in ("images", "lms")]
        for path, array in zip(paths, (image, lm), strict=True):
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), path)
        made.append(SheetCase(f"kits_{number}", "kits", *paths))
    return made


def test_a_tile_shows_the_labels(cases: list[SheetCase]) -> None:
    tile = tile_of(cases[0])
    assert tile.index == 4 and tile.lm.shape == (17, 20) and set(np.unique(tile.lm)) == {0, 1, 3}
    assert tile.voxels == {1: 63, 3: 63}
    assert tile_of(cases[2]).index == 4 and tile_of(cases[2]).voxels == {}


def test_sheet_and_sizes(cases: list[SheetCase], tmp_path: Path) -> None:
    cases[1].image.write_bytes(b"nonsense")
    seen: list[tuple[int, int]] = []
    files, problems = write_sheets(cases, {1: "kidney"}, tmp_path / "out", 2, lambda *event: seen.append(event))
    assert [f.name for f in files] == ["sheet_01.png", "label_sizes.csv"]
    assert [p.case_id for p in problems] == ["kits_1"] and seen[-1] == (3, 3)
    picture = matplotlib.image.imread(files[0])
    coloured = np.ptp(picture[..., :3], axis=-1) > 0.3
    assert coloured.sum() > 100, "contours are drawn"
    rows = list(csv.DictReader(files[1].open()))
    assert [(r["case_id"], r["name"], r["voxels"]) for r in rows] == [
        ("kits_0", "kidney", "63"),
        ("kits_0", "label_3", "63"),
    ]
    assert float(rows[0]["mm3"]) == pytest.approx(63 * 1.0 * 1.3 * 2.2, abs=0.06)
