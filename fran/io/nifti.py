"""NIfTI-1 and NIfTI-2 through nibabel, with the checks that its reader leaves out.

Measured on truncated, bit-flipped and oversized files: SimpleITK fills a truncated .nii.gz with zeros and turns NaN
into 0 without a word, nibabel accepts a .nii.gz whose checksum is wrong. Here the stream is decompressed once, to its
end, so that gzip's own checksum decides.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fran.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_DEFLATE_RATIO = 1032  # zlib technical notes: no deflate stream expands further
_HEADER_BYTES = 540  # the longer of the two header kinds, NIfTI-2
_MAX_TRAILING_BYTES = 1 << 26


def read_header(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of a file in its own axis order, without its voxels."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    header = _parse_header(path, _inflate_head(path, head))
    return _shape_3d(path, header), header.get_best_affine()


def read(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels in the file's own axis order, header scaling applied, and the affine.

    Raises:
        DataError: truncated, altered, claiming more than it holds, or not one 3-D volume of real numbers.
    """
    content = path.read_bytes()
    header = _parse_header(path, _inflate_head(path, content[: 1 << 16]))
    shape = _shape_3d(path, header)
    dtype = _real_dtype(path, header)
    offset = int(header.get_data_offset())
    payload = _payload(path, content, offset + int(np.prod(shape, dtype=object)) * dtype.itemsize)
    array = np.frombuffer(payload, dtype=dtype, offset=offset, count=int(np.prod(shape))).reshape(shape, order="F")
    return _scaled(array.astype(dtype.newbyteorder("="), copy=False), header), header.get_best_affine()


def write(path: Path, array: NDArray[Any], affine: NDArray[np.float64], note: str) -> None:
    """Write `array` as it lies; the affine goes into sform and qform, `note` into a comment extension."""
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", note.encode()))
    nibabel.save(image, path)


def _inflate_head(path: Path, head: bytes) -> bytes:
    if not head.startswith(_GZIP_MAGIC):
        return head[:_HEADER_BYTES]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEADER_BYTES)
    except zlib.error as error:
        raise DataError(f"{path}: expected a gzip stream, found a corrupt one ({error}); copy it again") from error


def _parse_header(path: Path, head: bytes) -> Any:
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if kind.may_contain_header(head):
            try:
                # from_fileobj would read extensions too, which may reach far beyond the head
                return kind(head[: kind.template_dtype.itemsize], check=False)
            except (HeaderDataError, ValueError) as error:
                raise DataError(f"{path}: expected a NIfTI header, found: {error}") from error
    raise DataError(f"{path}: expected a NIfTI file, found {len(head)} bytes that start with {head[:8]!r}")


def _shape_3d(path: Path, header: Any) -> tuple[int, int, int]:
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
    except HeaderDataError as error:
        raise DataError(f"{path}: expected a 3-D volume, found a header without a shape: {error}") from error
    core = list(shape)
    while len(core) > 3 and core[-1] == 1:
        core.pop()
    if len(core) != 3 or min(core) < 1:
        hint = "; split several channels or time points into files of their own" if len(core) > 3 else ""
        raise DataError(f"{path}: expected one 3-D volume, found {len(core)}-D of shape {shape}{hint}")
    return core[0], core[1], core[2]


def _real_dtype(path: Path, header: Any) -> np.dtype[Any]:
    try:
        dtype = header.get_data_dtype()
    except HeaderDataError as error:
        raise DataError(f"{path}: expected a numeric voxel type, found: {error}") from error
    if dtype.fields:
        raise DataError(f"{path}: expected one number a voxel, found {len(dtype.fields)} components (a colour image)")
    if dtype.kind == "c":
        raise DataError(f"{path}: expected real numbers, found complex voxels ({dtype}); store magnitude or phase")
    if dtype.kind not in "iuf":
        raise DataError(f"{path}: expected integers or floats, found voxel type {dtype}")
    found: np.dtype[Any] = np.dtype(dtype)
    return found


def _payload(path: Path, content: bytes, needed: int) -> bytes:
    """The first `needed` uncompressed bytes, after the whole stream has been checked."""
    zipped = content.startswith(_GZIP_MAGIC)
    capacity = len(content) * _MAX_DEFLATE_RATIO if zipped else len(content)
    if needed > capacity:
        raise DataError(
            f"{path}: its header claims {needed} bytes, but {len(content)} bytes on disk hold at most {capacity}; "
            "the file is truncated or its header is wrong"
        )
    if not zipped:
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            payload = stream.read(needed)
            _read_to_end(path, stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: truncated or corrupt: {error}; copy it again from its source") from error
    if len(payload) < needed:
        raise DataError(f"{path}: truncated: its header claims {needed} bytes, found {len(payload)}")
    return payload


def _read_to_end(path: Path, stream: gzip.GzipFile) -> None:
    # the checksum sits behind the last byte and is compared only when the end is reached
    trailing = 0
    while chunk := stream.read(1 << 20):
        trailing += len(chunk)
        if trailing > _MAX_TRAILING_BYTES:
            raise DataError(f"{path}: expected the stream to end with the voxels, found {trailing} bytes more")


def _scaled(array: NDArray[Any], header: Any) -> NDArray[Any]:
    slope, inter = header.get_slope_inter()
    slope, inter = (1.0 if slope is None else slope), (0.0 if inter is None else inter)
    if (slope, inter) == (1.0, 0.0):
        return array
    scaled: NDArray[Any] = array.astype(np.float32) * np.float32(slope) + np.float32(inter)
    return scaled
