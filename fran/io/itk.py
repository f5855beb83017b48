"""NRRD and MetaImage through SimpleITK, turned to nibabel's conventions: (x, y, z) arrays and RAS+ affines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from fran.errors import DataError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_DEFLATE_RATIO = 1032


def read_header(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of a file in its own axis order, without its voxels."""
    reader = _open(path)
    return _shape_3d(path, reader.GetSize()), _affine(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())


def read(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels in the file's own axis order and the affine.

    Raises:
        DataError: unreadable, claiming more than it holds, or not one 3-D volume of real numbers.
    """
    shape, affine = read_header(path)
    reader = _open(path)
    _check_voxel_type(path, reader)
    _check_capacity(path, shape, reader)
    image = _guarded(path, reader.Execute)
    array = sitk.GetArrayFromImage(image).reshape(shape[::-1])
    return array.transpose(2, 1, 0), affine


def write(path: Path, array: NDArray[Any], affine: NDArray[np.float64], note: str) -> None:
    """Write `array` (x, y, z) compressed; `note` goes into the header key ``fran_labels``."""
    image = to_sitk(array, affine)
    image.SetMetaData("fran_labels", note)
    sitk.WriteImage(image, str(path), useCompression=True)


def to_sitk(array: NDArray[Any], affine: NDArray[np.float64]) -> sitk.Image:
    """SimpleITK image of an (x, y, z) array with a RAS+ affine."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def _open(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    _guarded(path, reader.ReadImageInformation)
    return reader


def _guarded(path: Path, action: Any) -> Any:
    try:
        return action()
    except RuntimeError as error:
        last_line = str(error).strip().splitlines()[-1].strip()
        raise DataError(f"{path}: unreadable as {path.suffix}: {last_line}; copy it again or convert it") from error


def _shape_3d(path: Path, size: tuple[int, ...]) -> tuple[int, int, int]:
    core = list(size)
    while len(core) > 3 and core[-1] == 1:
        core.pop()
    if len(core) != 3:
        raise DataError(f"{path}: expected one 3-D volume, found {len(core)}-D of shape {tuple(size)}")
    return core[0], core[1], core[2]


def _check_voxel_type(path: Path, reader: sitk.ImageFileReader) -> None:
    components = reader.GetNumberOfComponents()
    name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in name:
        raise DataError(f"{path}: expected real numbers, found voxel type {name}; store magnitude or phase")
    if components != 1:
        raise DataError(f"{path}: expected one number a voxel, found {components} components ({name})")


def _check_capacity(path: Path, shape: tuple[int, int, int], reader: sitk.ImageFileReader) -> None:
    itemsize = sitk.GetArrayFromImage(sitk.Image([1, 1, 1], reader.GetPixelID())).itemsize
    needed = int(np.prod(shape, dtype=object)) * itemsize
    capacity = path.stat().st_size * _MAX_DEFLATE_RATIO
    if needed > capacity:
        raise DataError(
            f"{path}: its header claims {needed} bytes, but the file can hold at most {capacity}; "
            "the file is truncated or its header is wrong"
        )


def _affine(spacing: Any, origin: Any, direction: Any) -> NDArray[np.float64]:
    n = len(spacing)
    lps = np.eye(4)
    lps[:3, :3] = (np.array(direction).reshape(n, n) * np.array(spacing))[:3, :3]
    lps[:3, 3] = np.array(origin)[:3]
    return np.asarray(_LPS_TO_RAS @ lps, dtype=np.float64)
