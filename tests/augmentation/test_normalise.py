from __future__ import annotations

import numpy as np
import pytest
import torch

from fran.augmentation.normalise import Window, floor_of, normalise, normalise_stored, window_for, within
from fran.errors import ConfigError

CASE = {"mean": 40.0, "std": 4.0, "min": 1.0, "max": 90.0, "p005": 5.0, "p995": 80.0}
DATASET = {"intensity_clip_range": [-100.0, 200.0], "mean_fg": 60.0, "std_fg": 30.0}


def test_ct_takes_the_dataset_and_mr_the_case():
    assert window_for("CT", CASE, DATASET) == Window(-100, 200, 60, 30)
    assert window_for("MR", CASE, DATASET) == Window(5, 80, 40, 4)


def test_constant_image_divides_by_one():
    assert window_for("MR", {**CASE, "std": 0.0}, {}).std == 1.0


def test_missing_property_is_named():
    with pytest.raises(ConfigError, match="missing std_fg"):
        window_for("CT", CASE, {"intensity_clip_range": [0, 1], "mean_fg": 1.0})
    with pytest.raises(ConfigError, match="missing p995"):
        window_for("PET", {k: v for k, v in CASE.items() if k != "p995"}, {})


def test_normalise_equals_numpy_per_sample():
    rng = np.random.default_rng(0)
    image = rng.normal(50, 100, (2, 1, 3, 4, 5)).astype(np.float32)
    windows = [Window(-100, 200, 60, 30), Window(5, 80, 40, 4)]
    expected = np.stack([(np.clip(im, w.lo, w.hi) - w.mean) / w.std for im, w in zip(image, windows, strict=True)])
    table = torch.tensor([w.as_tuple() for w in windows])
    source = torch.from_numpy(image)
    kept = source.clone()
    torch.testing.assert_close(normalise(source, table), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert torch.equal(source, kept)


@pytest.mark.parametrize("clip", [(-300, 400), (-50, 400), (-300, 100), (-50, 100)])
def test_files_that_are_clipped_look_like_images_that_are_not(clip: tuple[int, int]) -> None:
    stored = torch.arange(-1000, 1000, 5, dtype=torch.int16).view(1, 1, 10, 8, 5)
    window = torch.tensor([[1.0, 0.0, *window_for("CT", {}, within(DATASET, clip)).as_tuple()]])
    assert torch.equal(normalise_stored(stored.clamp(*clip), window), normalise_stored(stored, window))
    assert within(DATASET, (-300, 400)) == within(DATASET, None) == DATASET


def test_a_window_beside_the_foreground() -> None:
    with pytest.raises(ConfigError, match=r"intensity_clip_range \[-100, 200\], found \[200, 900\]"):
        within(DATASET, (200, 900))
    assert within({}, (0, 1)) == {}


def test_stored_values_are_scaled_before_the_window():
    stored = torch.full((1, 1, 2, 3, 4), 1000, dtype=torch.int16)
    window = torch.tensor([[0.01, 300.0, 0.0, 305.0, 300.0, 10.0]])
    assert torch.allclose(normalise_stored(stored, window), torch.tensor(0.5))
    assert floor_of(window).tolist() == [-30.0]
