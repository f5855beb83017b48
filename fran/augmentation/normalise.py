"""Intensity normalisation: one code path for training and inference.

Case files hold raw units; clipping and scaling happen on the batch, so changing them invalidates no stored file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fran.errors import ConfigError

CT_PROPERTIES = ("intensity_clip_range", "mean_fg", "std_fg")


@dataclass(frozen=True)
class Window:
    """Clip range, mean and standard deviation in raw units (HU for CT)."""

    lo: float
    hi: float
    mean: float
    std: float

    def as_tuple(self) -> tuple[float, float, float, float]:
        """(lo, hi, mean, std), the row that `normalise` takes."""
        return self.lo, self.hi, self.mean, self.std


def window_for(modality: str, intensity: Mapping[str, float], properties: Mapping[str, Any]) -> Window:
    """Window of one case.

    CT is a calibrated unit, so all cases share the dataset's foreground window; other modalities are scaled by their
    own statistics. A standard deviation of 0 (constant image) becomes 1.

    Args:
        modality: "CT", "MR", "PET", ...
        intensity: the case's statistics in raw units with the keys mean, std, p005, p995.
        properties: the dataset's properties; CT needs intensity_clip_range (two numbers), mean_fg and std_fg.

    Raises:
        ConfigError: a property or statistic is missing, or the clip range is not increasing.
    """
    if modality.upper() == "CT":
        _require(properties, CT_PROPERTIES, "properties of a CT dataset")
        lo, hi = (float(v) for v in properties["intensity_clip_range"])
        mean, std = float(properties["mean_fg"]), float(properties["std_fg"])
    else:
        _require(intensity, ("p005", "p995", "mean", "std"), f"intensity statistics of a {modality} case")
        lo, hi, mean, std = (float(intensity[key]) for key in ("p005", "p995", "mean", "std"))
    if not lo <= hi:
        raise ConfigError(f"clip range: expected lo <= hi, found {lo} > {hi}; compute the dataset's properties again")
    return Window(lo, hi, mean, std if std > 0 else 1.0)


def within(properties: Mapping[str, Any], clip_hu: Sequence[float] | None) -> dict[str, Any]:
    """Properties of a dataset whose CT is stored clipped to a window: its intensity_clip_range lies in there, too.

    A network that was trained so then sees every image as its training data were, wherever that comes from.

    Args:
        properties: the dataset's properties.
        clip_hu: (low, high); None leaves the properties as they are.

    Raises:
        ConfigError: the two have nothing in common.
    """
    if clip_hu is None or properties.get("intensity_clip_range") is None:
        return dict(properties)
    lo, hi = properties["intensity_clip_range"]
    low, high = max(lo, clip_hu[0]), min(hi, clip_hu[1])
    if low >= high:
        raise ConfigError(
            f"clip_hu: expected a window around the dataset's intensity_clip_range [{lo:g}, {hi:g}], found"
            f" [{clip_hu[0]:g}, {clip_hu[1]:g}], in which all of the foreground would be one value"
        )
    return {**properties, "intensity_clip_range": [low, high]}


def _require(found: Mapping[str, Any], wanted: tuple[str, ...], what: str) -> None:
    missing = [key for key in wanted if found.get(key) is None]
    if missing:
        raise ConfigError(
            f"{what}: expected {', '.join(wanted)}; missing {', '.join(missing)}."
            " Compute the global properties of the project first."
        )


def normalise(image: Tensor, window: Tensor) -> Tensor:
    """Clip to [lo, hi], subtract the mean, divide by the standard deviation.

    Args:
        image: (B, 1, x, y, z) floating point, raw units.
        window: (B, 4) rows of lo, hi, mean, std in raw units.

    Returns:
        float tensor of the image's shape and dtype.
    """
    return _normalise(image.clone(), window)


def normalise_stored(stored: Tensor, window: Tensor) -> Tensor:
    """Normalised float32 image of stored values.

    Args:
        stored: (B, 1, x, y, z) int16 or float16 as in a case file.
        window: (B, 6) rows of slope, inter, lo, hi, mean, std (see `fran.keys.WINDOW`).
    """
    slope, inter = window[:, :2].float().view(-1, 2, 1, 1, 1, 1).unbind(1)
    # a float32 array of its own even where the stored one is float32
    return _normalise((stored * slope).add_(inter), window[:, 2:])


def _normalise(image: Tensor, window: Tensor) -> Tensor:
    lo, hi, mean, std = window.to(image).view(-1, 4, 1, 1, 1, 1).unbind(1)
    torch.maximum(image, lo, out=image)
    torch.minimum(image, hi, out=image)
    return image.sub_(mean).div_(std)


def floor_of(window: Tensor) -> Tensor:
    """(B,) normalised value of the lower clip, with which regions outside the volume are filled."""
    return (window[:, 2] - window[:, 4]) / window[:, 5]
