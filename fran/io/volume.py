"""Reading volumes into (x, y, z) RAS+ arrays and writing label maps back to the grid they came from.

This package is the one place where file conventions are turned round: NIfTI through nibabel, NRRD and MetaImage
through SimpleITK, whose arrays are (z, y, x) in an LPS frame. docs/geometry.md explains the conventions.
"""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fran.errors import DataError, GeometryError
from fran.geometry import Grid, Reorientation, reorientation_to_ras
from fran.io import nifti
from fran.io.files import atomic_path
from fran.io.sniff import HEAD_BYTES, kind_of
from fran.labels import MAX_LABEL

Role = Literal["image", "lm"]

EXTENSIONS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")

_LFS_MARK = b"version https://git-lfs"


class LabelValueError(DataError):
    """A label map holds a whole number that no label map may hold; `value` is the one furthest off."""

    def __init__(self, message: str, value: int) -> None:
        super().__init__(message)
        self.value = value

    def __reduce__(self) -> tuple[type[LabelValueError], tuple[str, int]]:
        return type(self), (str(self), self.value)


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as read.

    Attributes:
        array: (x, y, z) in RAS+ order. Images keep their stored dtype, or are float32 where the file scales its
            values; label maps are uint8 or uint16.
        grid: the RAS+ grid of `array`.
        native: the grid as the file stores it.
        reorientation: turns a native array into `array` and back.
        path: the file.
    """

    array: NDArray[Any]
    grid: Grid
    native: Grid
    reorientation: Reorientation
    path: Path


def stem(path: Path | str) -> str:
    """File name without any of `EXTENSIONS`; other suffixes stay.

    Example:
        >>> stem("kits_00004.nii.gz")
        'kits_00004'
    """
    name = Path(path).name
    for extension in EXTENSIONS:
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name


def read_volume(path: Path | str, *, role: Role = "image") -> Volume:
    """Read an image or a label map.

    A gzip stream is read to its end, so that a truncated or altered file is an error rather than zeros; NaN and
    infinity are errors; header claims that the file cannot hold are refused before memory is asked for.

    Raises:
        DataError: the file cannot be read as one 3-D volume of `role`; the message names the file and the reason.
        GeometryError: its axes are not orthogonal.
    """
    volume = decode(path)
    return as_label_map(volume) if role == "lm" else as_image(volume)


def decode(path: Path | str, content: bytes | None = None) -> Volume:
    """Read a volume with the voxels as stored; `as_image` or `as_label_map` then checks them.

    Args:
        path: the file.
        content: its bytes, where they were read already.

    Raises:
        DataError: the file cannot be read as one 3-D volume.
        GeometryError: its axes are not orthogonal.
    """
    path = Path(path)
    _check_file(path)
    array, affine = _codec(path, content).read(path, content)
    return volume_of(path, array, affine)


def volume_of(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Volume:
    """A volume of voxels in a file's own axis order and the affine that takes them to mm in RAS+.

    Raises:
        GeometryError: the axes are not orthogonal.
    """
    native = _native_grid(path, array.shape, affine)
    turn = reorientation_to_ras(native.affine)
    return Volume(turn.apply(array), turn.apply_grid(native), native, turn, path)


def as_image(volume: Volume) -> Volume:
    """The volume with finite intensities, float64 made float32.

    Raises:
        DataError: some are NaN or infinite.
    """
    _check_finite(volume.path, volume.array)
    return replace(volume, array=volume.array.astype(np.float32)) if volume.array.dtype == np.float64 else volume


def as_label_map(volume: Volume) -> Volume:
    """The volume as uint8 or uint16.

    Raises:
        DataError: a value would change by it.
    """
    return replace(volume, array=_as_label_map(volume.path, volume.array))


def read_native_grid(path: Path | str) -> Grid:
    """Grid of a file from its header, in the file's own axis order."""
    path = Path(path)
    _check_file(path)
    shape, affine = _codec(path, None).read_header(path)
    return _native_grid(path, shape, affine)


def write_label_map(
    path: Path | str, array: NDArray[Any], native: Grid, names: Mapping[int, str] | None = None
) -> None:
    """Write a label map on a grid, atomically.

    Args:
        path: file to write; its ending, one of `EXTENSIONS`, chooses the format.
        array: (x, y, z) in RAS+ order, unsigned integer.
        native: the grid to write on; `array` is turned to its axis order.
        names: label names, kept in the header as JSON (NIfTI comment extension, NRRD and MetaImage key ``fran_labels``)
            and, with colours, where other programs look: NIfTI's label table of Connectome Workbench, the segments of
            3D Slicer in ``.seg.nrrd``.

    Raises:
        DataError: the array does not fit the grid, or the ending is not known.
    """
    named = dict(sorted((names or {}).items()))
    note = json.dumps({"labels": {str(v): n for v, n in named.items()}})
    _write(Path(path), array, native, note, named)


def write_image(path: Path | str, array: NDArray[Any], native: Grid) -> None:
    """Write an image on a grid, atomically; see `write_label_map`."""
    _write(Path(path), array, native, "", None)


def _write(path: Path, array: NDArray[Any], native: Grid, note: str, names: Mapping[int, str] | None) -> None:
    stored = np.ascontiguousarray(reorientation_to_ras(native.affine).invert(array))
    if stored.shape != native.shape:
        raise DataError(f"{path}: expected native shape {native.shape}, found {stored.shape}")
    with atomic_path(path) as temporary:
        _codec_of_name(path).write(temporary, stored, native.affine, note, names)


def _codec(path: Path, content: bytes | None) -> Any:
    """The reader for a file's name, after a look whether its bytes are what the name says."""
    codec = _codec_of_name(path)
    kind = kind_of(_head(path) if content is None else content[:HEAD_BYTES])
    if codec is nifti and kind in (".nii", ".nii.gz"):
        return codec  # the reader goes by the bytes, compressed or not
    if kind in EXTENSIONS and not path.name.lower().endswith(kind):
        renamed = path.with_name(stem(path) + kind)
        step = shlex.join(["mv", str(path), str(renamed)])
        raise DataError(f"{path}: expected a {_extension(path)} file, found a {kind} file; rename it: {step}")
    if kind not in EXTENSIONS and not kind.startswith(("unknown", "a gzip stream of unknown")):
        raise DataError(f"{path}: expected a {_extension(path)} file, found {kind}; export the volume again")
    return codec


def _codec_of_name(path: Path) -> Any:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return nifti
    if name.endswith((".nrrd", ".mha")):
        from fran.io import itk  # SimpleITK takes a while to load, and most people have NIfTI alone

        return itk
    raise DataError(f"{path}: expected a file ending in one of {', '.join(EXTENSIONS)}")


def _extension(path: Path) -> str:
    return path.name[len(stem(path)) :]


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise DataError(f"{path}: expected a file, found a directory; move it out, and the volume in its place")
        if size == 0:
            raise DataError(f"{path}: expected a volume, found an empty file of 0 bytes; copy it again")
        with path.open("rb") as stream:
            head = stream.read(len(_LFS_MARK))
    except OSError as error:
        raise unreadable(path, error) from error
    if head == _LFS_MARK:
        command = f"cd {shlex.quote(str(path.parent))} && git lfs pull"
        raise DataError(f"{path}: expected a volume, found a git-lfs pointer; fetch it: {command}")


def unreadable(path: Path, error: OSError) -> DataError:
    """What a failed attempt to open a file means to its owner."""
    if error.errno == errno.ELOOP:
        return DataError(f"{path}: expected a file, found a link that leads back to itself; put the file in its place")
    if error.errno == errno.ENOENT and path.is_symlink():
        target = path.readlink()
        return DataError(f"{path}: expected a file, found a link to a file that is not there: {target}; restore it")
    if isinstance(error, PermissionError):
        command = shlex.join(["chmod", "u+r", str(path)])
        return DataError(f"{path}: expected a readable file, found no permission to read it; give it: {command}")
    if error.errno == errno.ENOENT:
        return DataError(f"{path}: expected a file, found nothing; restore it")
    return DataError(f"{path}: expected a readable file, found: {error.strerror}; restore it or its permissions")


def _native_grid(path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> Grid:
    x, y, z = shape
    try:
        return Grid((x, y, z), affine)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error


def _check_finite(path: Path, array: NDArray[Any]) -> None:
    if not np.issubdtype(array.dtype, np.floating):
        return
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(
            f"{path}: image: expected finite intensities, found {bad} of {array.size} voxels NaN or infinite; "
            "replace them in the source file or leave the case out"
        )


def _as_label_map(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """The label map as uint8 or uint16, after checking that no value changes by it."""
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.floating):
        _check_finite(path, array)
        off = np.abs(array - np.rint(array))
        if off.any():
            n_off = int(np.count_nonzero(off))
            worst = np.argpartition(off, -min(n_off, 3), axis=None)[-min(n_off, 3) :]
            examples = ", ".join(f"{v:g}" for v in sorted(array.flat[worst]))
            raise DataError(
                f"{path}: label map: expected whole numbers, found {n_off} voxels such as {examples}; "
                "is this an image, or a label map that was resampled with interpolation?"
            )
    if low < 0:
        count = int(np.count_nonzero(array < 0))
        text = f"{path}: label map: expected values from 0 to {MAX_LABEL}, found {low:g} in {count} voxels"
        raise LabelValueError(f"{text}; map it to 0 or to a label of its own", int(low))
    if high > MAX_LABEL:
        count = int(np.count_nonzero(array > MAX_LABEL))
        text = f"{path}: label map: expected values from 0 to {MAX_LABEL}, found up to {high:g} in {count} voxels"
        raise LabelValueError(f"{text}; map it to another, or is this an image?", int(high))
    return array.astype(np.uint8 if high <= 255 else np.uint16, copy=False)
