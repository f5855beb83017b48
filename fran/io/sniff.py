"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import gzip
import io
import zlib

HEAD_BYTES = 1 << 16

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"NRRD", ".nrrd"),
    (0, b"ObjectType", ".mha"),
    (0, b"NDims", ".mha"),
    (344, b"n+1\x00", ".nii"),
    (4, b"n+2\x00", ".nii"),
    (344, b"ni1\x00", "the header of a NIfTI pair (.hdr/.img)"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard stream"),
    (0, b"BZh", "a bzip2 stream"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (257, b"ustar", "a tar archive"),
)


def is_gzip(head: bytes) -> bool:
    """Whether a gzip stream begins here."""
    return head.startswith(b"\x1f\x8b")


def kind_of(head: bytes) -> str:
    """A volume's usual ending (``".nii"``, ``".nii.gz"``, ``".nrrd"``, ``".mha"``), or another kind of file in words.

    Args:
        head: the first bytes, `HEAD_BYTES` of them where the file has so many.

    Example:
        >>> kind_of(b"NRRD0005"), kind_of(b"case,label")
        ('.nrrd', 'a text file')
    """
    if is_gzip(head):
        inner = kind_of(_inflated(head))
        return ".nii.gz" if inner == ".nii" else f"a gzip stream of {inner}"
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, as a failed download leaves behind"
    return "a text file" if _is_text(head[:4096]) else "unknown bytes"


def _inflated(head: bytes) -> bytes:
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(head)).read1(4096)
    except (OSError, EOFError, zlib.error):
        return b""


def _is_text(head: bytes) -> bool:
    if not head or b"\x00" in head:
        return False
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return printable > 0.95 * len(head)
