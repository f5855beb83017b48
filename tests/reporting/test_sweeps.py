from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.image import imread

from fran.errors import DataError
from fran.reporting.sweeps import best_so_far_png, running_best


def test_the_best_so_far() -> None:
    assert running_best([3, 4, 2, math.nan, 1], largest=False) == [3, 3, 2, 2, 1]
    assert math.isnan(running_best([math.nan, 1])[0])


def test_a_picture_whose_bytes_depend_on_the_values_alone(tmp_path: Path) -> None:
    values, early = [0.2, 0.5, math.nan, 0.4], [False, False, False, True]
    first = best_so_far_png(values, early, tmp_path / "a.png", "val/dice").read_bytes()
    assert best_so_far_png(values, early, tmp_path / "b.png", "val/dice").read_bytes() == first
    assert best_so_far_png([0.2, 0.3, math.nan, 0.4], early, tmp_path / "c.png", "val/dice").read_bytes() != first
    assert imread(tmp_path / "a.png").shape[2] == 4
    with pytest.raises(DataError):
        best_so_far_png([math.nan], [False], tmp_path / "d.png", "val/dice")
