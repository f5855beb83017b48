"""From a volume as read to the stored volume a network is fed from: one code path for preprocessing and inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.geometry import Grid
from fran.io.intensity import intensity_statistics
from fran.io.volume import Volume
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.resampling import resample_image

Stored = NDArray[np.int16 | np.float16]

_LOW, _HIGH = int(np.iinfo(np.int16).min), int(np.iinfo(np.int16).max)


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image at the wanted spacing, as a case file holds it.

    Attributes:
        stored: (x, y, z) int16, or float16 where that was asked for, RAS+.
        slope, inter: raw = stored * slope + inter.
        chain: grids from the file to ``stored``.
        intensity: statistics in raw units, see :func:`fran.io.intensity.intensity_statistics`.
        n_clipped: voxels outside int16 that were clipped to it (CT only).
    """

    stored: Stored
    slope: float
    inter: float
    chain: GeometryChain
    intensity: dict[str, float]
    n_clipped: int = 0


def geometry_chain(volume: Volume, spacing_mm: Sequence[float]) -> GeometryChain:
    """The chain that brings ``volume`` to ``spacing_mm`` (x, y, z)."""
    return GeometryChain(volume.native, volume.reorientation, volume.grid, volume.grid).resampled(spacing_mm)


def prepare_image(volume: Volume, spacing_mm: Sequence[float]) -> tuple[NDArray[np.float32], Grid, GeometryChain]:
    """Resample a volume.

    Args:
        volume: from ``read_volume``.
        spacing_mm: wanted spacing (x, y, z).

    Returns:
        float32 (x, y, z) in raw units, its grid, and the chain to go back.
    """
    chain = geometry_chain(volume, spacing_mm)
    array = resample_image(volume.array, chain.ras, chain.stored)
    return array.astype(np.float32, order="C", copy=False), chain.stored, chain


def prepare_case_image(
    volume: Volume,
    spacing_mm: Sequence[float],
    modality: str,
    half_precision: bool = False,
    clip_hu: tuple[int, int] | None = None,
) -> PreparedImage:
    """Resample a volume and encode it as a case file does, so that a network sees in inference what it was trained on.

    Args:
        volume: from ``read_volume``.
        spacing_mm: wanted spacing (x, y, z).
        modality: "CT" keeps HU; any other is scaled where it must be, see :func:`encode`.
        half_precision: see :func:`encode`.
        clip_hu: window that CT is clipped to, after resampling; only for files that training reads, for inference clips
            to the network's own window in any case.
    """
    chain = geometry_chain(volume, spacing_mm)
    array = resample_image(volume.array, chain.ras, chain.stored)
    stored, slope, inter, n_clipped = encode(array, modality, half_precision)
    if clip_hu is not None and modality.upper() == "CT":
        stored = np.clip(stored, *clip_hu)
    values = stored.astype(np.float32) if stored.dtype == np.float16 else stored
    return PreparedImage(stored, slope, inter, chain, intensity_statistics(values, slope, inter), n_clipped)


def encode(array: NDArray[Any], modality: str, half_precision: bool = False) -> tuple[Stored, float, float, int]:
    """Raw intensities as stored values.

    CT is rounded to whole HU. Other modalities are kept as they are when every value is a whole number within int16,
    which is the case for most images that needed no resampling; else their range is spread over the 65536 steps.

    Args:
        array: (x, y, z) finite values in raw units.
        modality: "CT" or another.
        half_precision: store modalities other than CT in raw units as float16: 11 significant bits of each value, where
            the steps of scaled int16 are equal over the range. Images that reach beyond float16 (65504) stay int16.

    Returns:
        int16 or float16 array in C order, slope, inter (raw = stored * slope + inter), number of voxels clipped.
    """
    low, high = float(array.min()), float(array.max())
    fits = low >= _LOW and high <= _HIGH
    if modality.upper() == "CT":
        rounded = np.rint(array) if array.dtype.kind == "f" else array
        n_clipped = 0 if fits else int(np.count_nonzero((rounded < _LOW) | (rounded > _HIGH)))
        inside = rounded if fits else np.clip(rounded.astype(np.float64), _LOW, _HIGH)
        return _int16(inside), 1.0, 0.0, n_clipped
    if half_precision and max(-low, high) <= float(np.finfo(np.float16).max):
        return array.astype(np.float16, order="C"), 1.0, 0.0, 0
    if fits and (array.dtype.kind != "f" or _whole(array)):
        return _int16(array), 1.0, 0.0, 0
    if low == high:
        return np.zeros(array.shape, np.int16), 1.0, low, 0
    slope = (high - low) / (_HIGH - _LOW)
    stored = np.empty(array.shape, np.int16)
    for x, plane in enumerate(array):  # plane by plane: float64 for the division, without a volume of it
        stored[x] = np.clip(np.rint((plane.astype(np.float64) - low) / slope) + _LOW, _LOW, _HIGH)
    return stored, slope, low - _LOW * slope, 0


def _whole(array: NDArray[np.generic]) -> bool:
    return all(bool((plane == np.rint(plane)).all()) for plane in array)


def _int16(array: NDArray[np.generic]) -> NDArray[np.int16]:
    return array.astype(np.int16, order="C", copy=False)
