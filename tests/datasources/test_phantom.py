from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantom, make_phantoms
from fran.errors import ConfigError
from fran.io.volume import read_volume


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantoms(tmp_path_factory.mktemp("phantoms") / "demo", n=4, seed=3)


def test_scan_finds_nothing_wrong(demo: Path, tmp_path: Path) -> None:
    report = Datasource(demo).scan(tmp_path / "store")
    assert [p for p in report.problems if p.severity != "note"] == []
    assert [r.case_id for r in report.records] == [f"demo_{k:03d}" for k in range(1, 5)]
    assert {r.modality for r in report.records} == {"CT"}
    assert all(set(r.facts.labels) == {1, 2} for r in report.records)
    assert len({r.facts.orientation for r in report.records}) == 4
    assert len({r.facts.size for r in report.records}) == 4
    assert all(r.facts.affine_difference == 0 for r in report.records)


def test_files_hold_what_was_drawn(demo: Path) -> None:
    image, lm, grid = make_phantom(3, seed=3)
    stored = read_volume(demo / "images" / "demo_004.nii.gz")
    np.testing.assert_array_equal(stored.array, image)
    np.testing.assert_array_equal(read_volume(demo / "lms" / "demo_004.nii.gz", role="lm").array, lm)
    assert stored.native.allclose(grid)
    off_axis = np.abs(stored.grid.affine[:3, :3]) > 0.1
    assert off_axis.sum() == 5, "the fourth phantom is oblique about z"


def test_seed_decides(demo: Path, tmp_path: Path) -> None:
    same = make_phantoms(tmp_path / "demo", n=1, seed=3)
    other = make_phantoms(tmp_path / "other", n=1, seed=4)
    name = "images/demo_001.nii.gz"
    assert (same / name).read_bytes() == (demo / name).read_bytes()
    assert (other / name).read_bytes() != (demo / name).read_bytes()


def test_no_threshold_solves_it() -> None:
    for index in range(3):
        image, lm, _ = make_phantom(index)
        kidney = lm > 0
        scores = []
        for low in range(40, 180, 10):
            for high in range(180, 320, 20):
                window = (image > low) & (image < high)
                scores.append(2 * (window & kidney).sum() / (window.sum() + kidney.sum()))
        assert max(scores) < 0.7


def test_kidneys_differ_and_left_is_left() -> None:
    _, lm, _ = make_phantom(0)
    middle = lm.shape[0] // 2
    left, right = (lm[:middle] == 1).sum(), (lm[middle:] == 1).sum()
    assert min(left, right) > 500
    assert left != right


def test_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        make_phantoms(tmp_path / "demo", n=0)
