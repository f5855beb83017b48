"""NRRD and MetaImage through SimpleITK, turned to nibabel's conventions: (x, y, z) arrays and RAS+ affines."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from fran.errors import DataError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_DEFLATE_RATIO = 1032
_MAX_HEADER_BYTES = 1 << 16
_HEADER_END = re.compile(rb"^ElementDataFile\s*=\s*LOCAL\r?\n|\A(?=NRRD)[\s\S]*?\r?\n\r?\n", re.M | re.I)


def read_header(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of a file in its own axis order, without its voxels."""
    reader = _open(path)
    return _shape_3d(path, reader.GetSize()), _affine(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())


def read(path: Path, content: bytes | None = None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels in the file's own axis order and the affine.

    Args:
        path: the file.
        content: its bytes, where they were read already.

    Raises:
        DataError: unreadable, claiming more than it holds, or not one 3-D volume of real numbers.
    """
    shape, affine = read_header(path)
    reader = _open(path)
    _check_voxel_type(path, reader)
    dtype = sitk.GetArrayFromImage(sitk.Image([1, 1, 1], reader.GetPixelID())).dtype
    _check_capacity(path, shape, dtype.itemsize)
    packed = _packed(path.read_bytes() if content is None else content)
    if packed is not None:
        array = _inflated(path, packed, shape, dtype)
    else:
        array = sitk.GetArrayFromImage(_guarded(path, reader.Execute)).reshape(shape[::-1])
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


def _check_capacity(path: Path, shape: tuple[int, int, int], itemsize: int) -> None:
    needed = int(np.prod(shape, dtype=object)) * itemsize
    capacity = path.stat().st_size * _MAX_DEFLATE_RATIO
    if needed > capacity:
        raise DataError(
            f"{path}: expected the {needed} bytes that its header claims, found a file that holds {capacity} at most; "
            "it is truncated, or its header is wrong: copy it again"
        )


@dataclass(frozen=True)
class _Packed:
    """A compressed payload, its byte order, and zlib's number for its kind of stream."""

    payload: bytes
    big_endian: bool
    wbits: int


def _packed(content: bytes) -> _Packed | None:
    """Payload of a compressed file that is whole in itself; None for any other, which SimpleITK reads well.

    Measured: SimpleITK reads a compressed MetaImage or NRRD with a wrong byte, and one that is too short, without a
    word (49 % of the voxels were wrong), since it never looks at the checksum.
    """
    end = _HEADER_END.search(content, 0, _MAX_HEADER_BYTES)
    if end is None:
        return None
    lines = content[: end.end()].decode("latin-1").lower().splitlines()
    fields = dict(re.split(r"\s*[=:]+\s*", line, maxsplit=1) for line in lines if re.search("^[^#].*[=:]", line))
    if content.startswith(b"NRRD"):
        odd = {"data file", "datafile", "byte skip", "line skip", "byteskip", "lineskip"} & fields.keys()
        gzipped = fields.get("encoding") in ("gzip", "gz") and not odd
        return _Packed(content[end.end() :], fields.get("endian") == "big", 31) if gzipped else None
    orders = (fields.get("binarydatabyteordermsb"), fields.get("elementbyteordermsb"))
    return _Packed(content[end.end() :], "true" in orders, 15) if fields.get("compresseddata") == "true" else None


def _inflated(path: Path, packed: _Packed, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(z, y, x) array of a stream that is read to its end, where its checksum sits."""
    needed = int(np.prod(shape)) * dtype.itemsize
    stream = zlib.decompressobj(packed.wbits)
    try:
        voxels = stream.decompress(packed.payload, needed)
        rest = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise DataError(
            f"{path}: expected a whole file, found it truncated or corrupt: {error}; copy it again from its source"
        ) from error
    if len(voxels) < needed or rest or not stream.eof:
        found = f"{len(voxels)}{'' if stream.eof else ' and more, or no end'}"
        text = f"{path}: expected a whole file, found it truncated or corrupt: {found} of {needed} bytes"
        raise DataError(f"{text}; copy it again from its source")
    stored = dtype.newbyteorder(">" if packed.big_endian else "<")
    return np.frombuffer(voxels, stored).astype(dtype, copy=False).reshape(shape[::-1])


def _affine(spacing: Any, origin: Any, direction: Any) -> NDArray[np.float64]:
    n = len(spacing)
    lps = np.eye(4)
    lps[:3, :3] = (np.array(direction).reshape(n, n) * np.array(spacing))[:3, :3]
    lps[:3, 3] = np.array(origin)[:3]
    return np.asarray(_LPS_TO_RAS @ lps, dtype=np.float64)
