"""NIfTI-1 and NIfTI-2 through nibabel, with the checks that its reader leaves out.

Measured on truncated, bit-flipped and oversized files: SimpleITK fills a truncated .nii.gz with zeros and turns NaN
into 0 without a word, nibabel accepts a .nii.gz whose checksum is wrong. Here the stream is decompressed once, to its
end, so that gzip's own checksum decides.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import nibabel
import numpy as np
from isal import isal_zlib
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fran.errors import DataError
from fran.io.sniff import is_gzip
from fran.labels.colours import colour_of

_MAX_DEFLATE_RATIO = 1032  # zlib technical notes: no deflate stream expands further
_LABEL_TABLE = 30  # ecode of Caret and Connectome Workbench
_HEADER_BYTES = 540  # the longer of the two header kinds, NIfTI-2
_MAX_TRAILING_BYTES = 1 << 26


def read_header(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of a file in its own axis order, without its voxels."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    header = _parse_header(path, _inflate_head(path, head))
    return _shape_3d(path, header), header.get_best_affine()


def read(path: Path, content: bytes | None = None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels in the file's own axis order, header scaling applied, and the affine.

    Args:
        path: the file.
        content: its bytes, where they were read already.

    Raises:
        DataError: truncated, altered, claiming more than it holds, or not one 3-D volume of real numbers.
    """
    content = path.read_bytes() if content is None else content
    header = _parse_header(path, _inflate_head(path, content[: 1 << 16]))
    shape = _shape_3d(path, header)
    _check_units(path, header)
    dtype = _real_dtype(path, header)
    offset = int(header.get_data_offset())
    payload = _payload(path, content, offset + int(np.prod(shape, dtype=object)) * dtype.itemsize)
    array = np.frombuffer(payload, dtype=dtype, offset=offset, count=int(np.prod(shape))).reshape(shape, order="F")
    return _scaled(array.astype(dtype.newbyteorder("="), copy=False), header), header.get_best_affine()


def write(
    path: Path, array: NDArray[Any], affine: NDArray[np.float64], note: str, names: Mapping[int, str] | None = None
) -> None:
    """Write `array` as it lies; the affine goes into sform and qform, `note` (may be empty) into a comment extension.

    With `names` it is marked as a label map, and they go into a label table.
    """
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    if note:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", note.encode()))
    if names is not None:
        image.header.set_intent("label")
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_LABEL_TABLE, _label_table(names).encode()))
    nibabel.save(image, path)


def _label_table(names: Mapping[int, str]) -> str:
    """Names and colours as Connectome Workbench writes them, and others read; the nearest that NIfTI has to a place."""
    rows = []
    for value, name in names.items():
        red, green, blue = (f"{c:.4f}" for c in colour_of(value))
        colour = f'Red="{red}" Green="{green}" Blue="{blue}" Alpha="1"'
        rows.append(f'<Label Key="{value}" {colour}>{escape(name)}</Label>')
    table = f"<LabelTable>{''.join(rows)}</LabelTable>"
    volume = f'<VolumeInformation Index="0">{table}<VolumeType>Label</VolumeType></VolumeInformation>'
    return f'<?xml version="1.0" encoding="UTF-8"?><CaretExtension>{volume}</CaretExtension>'


def _inflate_head(path: Path, head: bytes) -> bytes:
    if not is_gzip(head):
        return head[:_HEADER_BYTES]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEADER_BYTES)
    except zlib.error as error:
        raise DataError(
            f"{path}: expected a whole file, found a truncated or corrupt one: {error}; copy it again from its source"
        ) from error


def _parse_header(path: Path, head: bytes) -> Any:
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if kind.may_contain_header(head):
            try:
                # from_fileobj would read extensions too, which may reach far beyond the head
                return kind(head[: kind.template_dtype.itemsize], check=False)
            except (HeaderDataError, ValueError) as error:
                raise DataError(f"{path}: expected a NIfTI header, found: {error}") from error
    raise DataError(
        f"{path}: expected a NIfTI file, found {len(head)} bytes that start with {head[:8]!r}; export it again"
    )


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


def _check_units(path: Path, header: Any) -> None:
    """Millimetres, or no statement, which everybody reads as millimetres."""
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = "unknown"
    if unit not in ("mm", "unknown"):
        spacing = " x ".join(f"{s:.4g}" for s in header.get_zooms()[:3])
        raise DataError(f"{path}: units: expected millimetres, found a spacing of {spacing} {unit}; export it in mm")


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
    zipped = is_gzip(content)
    capacity = len(content) * _MAX_DEFLATE_RATIO if zipped else len(content)
    if needed > capacity:
        raise DataError(
            f"{path}: expected the {needed} bytes that its header claims, found a file of {len(content)} bytes, which "
            f"hold {capacity} at most; it is truncated, or its header is wrong: copy it again"
        )
    payload = _inflate(path, content, needed) if zipped else content
    if len(payload) < needed:
        text = f"{path}: expected a whole file, found a truncated or corrupt one: {len(payload)} of {needed} bytes"
        raise DataError(f"{text}; copy it again from its source")
    return payload


def _inflate(path: Path, content: bytes, needed: int) -> bytes:
    """The first `needed` bytes of a gzip stream that is read to its end: there its checksum sits.

    ISA-L takes half the time of zlib, and one call half the time of a `gzip.GzipFile` with its small buffers.
    """
    member = isal_zlib.decompressobj(wbits=31)
    try:
        payload = member.decompress(content, needed)
        trailing = 0
        while not member.eof and member.unconsumed_tail:
            trailing += len(member.decompress(member.unconsumed_tail, 1 << 20))
            _check_trailing(path, trailing)
        if member.eof and not is_gzip(member.unused_data):
            return payload
        return _inflate_members(path, content, needed)
    except (EOFError, gzip.BadGzipFile, zlib.error, isal_zlib.IsalError) as error:  # type: ignore[misc]  # its stub is wrong
        raise DataError(
            f"{path}: expected a whole file, found a truncated or corrupt one: {error}; copy it again from its source"
        ) from error


def _inflate_members(path: Path, content: bytes, needed: int) -> bytes:
    """The same for several gzip streams in a row, and for one that breaks off."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        payload = stream.read(needed)
        trailing = 0
        while chunk := stream.read(1 << 20):
            trailing += len(chunk)
            _check_trailing(path, trailing)
    return payload


def _check_trailing(path: Path, trailing: int) -> None:
    if trailing > _MAX_TRAILING_BYTES:
        raise DataError(
            f"{path}: expected the stream to end with the voxels, found {trailing >> 20} MiB more and no end; "
            "export the file again"
        )


def _scaled(array: NDArray[Any], header: Any) -> NDArray[Any]:
    slope, inter = header.get_slope_inter()
    slope, inter = (1.0 if slope is None else slope), (0.0 if inter is None else inter)
    if (slope, inter) == (1.0, 0.0):
        return array
    scaled: NDArray[Any] = array.astype(np.float32) * np.float32(slope) + np.float32(inter)
    return scaled
