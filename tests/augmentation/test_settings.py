from __future__ import annotations

import pytest

from fran.augmentation.settings import AugmentationSettings, no_augmentation, safe_flips
from fran.errors import ConfigError


def test_flips_skip_axes_that_labels_tell_apart():
    assert safe_flips([0.5] * 3, ["hippocampus-anterior", "Upper lobe"]) == [0.5, 0.0, 0.0]
    assert safe_flips([0.5] * 3, ["kidney", "leftover"]) == [0.5] * 3


def test_wrong_settings_are_all_named():
    with pytest.raises(ConfigError, match=r"(?s)rotation_deg.*scale_range.*noise_p|noise_p.*rotation_deg.*scale_range"):
        AugmentationSettings(noise_p=1.5, rotation_deg=[3.0], scale_range=[1.2, 0.8]).check()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("shear_deg", [5.0], "three numbers, for x along y"),
        ("shear_deg", [5.0, 89.0, 0.0], "angles below 60 degrees"),
        ("shift_range", [0.5, -0.5], "lowest <= highest"),
        ("shift_range", [0.5], "two numbers"),
        ("gamma_range", [-0.5, 0.5], "0 < lowest"),
        ("flip_p", [0.5, 2.0, 0.0], "0 to 1"),
    ],
)
def test_each_is_said(name, value, expected):
    (problem,) = AugmentationSettings(**{name: value}).problems()
    assert problem.key == f"augmentation.{name}"
    assert expected in problem.expected


def test_none_means_none():
    assert not any(value for name, value in vars(no_augmentation()).items() if name.endswith("_p") and name != "flip_p")
    assert AugmentationSettings(shift_range=[-1.0, -0.5]).problems() == []
