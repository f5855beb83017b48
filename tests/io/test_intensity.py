from __future__ import annotations

import numpy as np
import pytest

from fran.io.intensity import intensity_statistics


def reference(raw: np.ndarray) -> dict[str, float]:
    kept = raw[raw > raw.min()].astype(np.float64)
    low, high = np.percentile(kept, [0.5, 99.5])
    return {"mean": kept.mean(), "std": kept.std(), "min": kept.min(), "max": kept.max(), "p005": low, "p995": high}


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.int8, np.int32, np.float32, np.float64])
def test_equals_numpy_above_the_minimum(dtype: type) -> None:
    raw = (np.random.default_rng(3).gamma(2.0, 15.0, (11, 13, 17)) + 1).clip(1, 120).astype(dtype)
    raw[:3] = 0
    assert intensity_statistics(raw) == pytest.approx(reference(raw), rel=1e-6)


def test_counting_and_sorting_agree_on_negative_values_and_in_raw_units() -> None:
    stored = np.random.default_rng(5).integers(-32768, 32767, (9, 10, 7)).astype(np.int16)
    raw = stored.astype(np.float64) * 0.25 - 100
    assert intensity_statistics(stored, 0.25, -100) == pytest.approx(intensity_statistics(raw), rel=1e-9)


def test_more_than_one_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.random.default_rng(6).integers(-1000, 1500, (9, 10, 7)).astype(np.int16)
    whole = intensity_statistics(raw)
    monkeypatch.setattr("fran.io.intensity._SLAB_VOXELS", 50)
    assert intensity_statistics(raw) == whole


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_constant_image_has_no_spread(dtype: type) -> None:
    stats = intensity_statistics(np.full((2, 3, 4), -7, dtype))
    assert stats == {"mean": -7, "std": 0, "min": -7, "max": -7, "p005": -7, "p995": -7}
