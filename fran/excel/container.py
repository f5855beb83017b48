"""What kind of file a workbook is, told by its bytes and not by its name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from fran.errors import DataError

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_MERGE = re.compile(rb"<(?:\w+:)?mergeCell\b[^>]*?\bref=[\"']([A-Z]+\d+(?::[A-Z]+\d+)?)[\"']")
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_CHUNK = 1 << 20
_LARGEST = 2 << 30
_SAVE_AS = "open it in Excel or LibreOffice and save it as .xlsx"


def check_container(path: Path) -> None:
    """Raise `DataError`, saying what the file is instead, unless it is a workbook that can be read."""
    if path.is_dir() or not path.exists():
        raise DataError(f"{path}: expected a workbook (.xlsx), found {'a folder' if path.is_dir() else 'no such file'}")
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found {error.strerror}") from error
    if head == _OLE:
        raise DataError(_old_or_protected(path))
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: expected a workbook (.xlsx), found {_kind(path, head)}; {_SAVE_AS}")
    _check_parts(path)


def _old_or_protected(path: Path) -> str:
    if _ENCRYPTED in path.read_bytes():
        return (
            f"{path}: expected a workbook without a password, found a protected one; take the password off and save it"
        )
    return f"{path}: expected a workbook (.xlsx), found the old binary format (.xls); {_SAVE_AS}"


def _kind(path: Path, head: bytes) -> str:
    if not head:
        return "an empty file"
    if head[:2] == b"PK":
        return "half a workbook: its end is missing"
    return "text" if _is_text(path) else "something else"


def _is_text(path: Path) -> bool:
    with path.open("rb") as stream:
        sample = stream.read(4096)
    return b"\0" not in sample and all(byte >= 9 for byte in sample)


def _check_parts(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: expected a workbook (.xlsx), found a damaged one ({error})") from error
    if "xl/workbook.bin" in names:
        raise DataError(f"{path}: expected a workbook (.xlsx), found the binary format (.xlsb); {_SAVE_AS}")
    if "xl/workbook.xml" not in names:
        kind = "an OpenDocument file (.ods)" if "content.xml" in names else "a zip archive without a workbook in it"
        raise DataError(f"{path}: expected a workbook (.xlsx), found {kind}; {_SAVE_AS}")
    if size > _LARGEST:
        raise DataError(f"{path}: expected at most {_LARGEST >> 30} GB unpacked, found {size / 2**30:.1f} GB")


def merged_ranges(path: Path) -> dict[str, tuple[str, ...]]:
    """Merged ranges by sheet. Streaming readers do not report them, and they stand after the last row."""
    with zipfile.ZipFile(path) as archive:
        return {name: tuple(_merges(archive, part)) for name, part in _parts(archive).items()}


def _parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """Path inside the archive of each sheet."""
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
    parts = {}
    for element in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter():
        if element.tag.endswith("}sheet") and element.get(_RELATION) in targets:
            target = targets[element.get(_RELATION)]
            parts[element.get("name", "")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    return parts


def _merges(archive: zipfile.ZipFile, part: str) -> Iterator[str]:
    if part not in archive.namelist():
        return
    tail = b""
    with archive.open(part) as stream:
        while chunk := stream.read(_CHUNK):
            text = tail + chunk
            end = 0
            for found in _MERGE.finditer(text):
                end = found.end()
                yield found.group(1).decode("ascii")
            tail = text[max(end, len(text) - 256) :]
