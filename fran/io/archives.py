"""Zip files from elsewhere: unpacked whole and within bounds, or not at all."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fran.errors import DataError

CHUNK = 1 << 20
_DRIVE = 2  # "C:"


@dataclass(frozen=True)
class Bounds:
    """What an archive may become at most.

    Attributes:
        files: number of members.
        total_bytes: all members, unpacked.
        ratio: unpacked bytes for each packed byte of a member. Deflate reaches 1032, which only zeros do; weights and
            scans stay below 10, empty label maps may come near 1000.
        free_ratio_bytes: members up to this size may have any ratio.
    """

    files: int = 20_000
    total_bytes: int = 64 << 30
    ratio: float = 200.0
    free_ratio_bytes: int = 64 << 20


def safe_extract(archive: Path | str, folder: Path | str, bounds: Bounds | None = None) -> list[Path]:
    """Unpack a zip file into a folder that does not exist yet.

    Nothing is written outside the folder, nothing but plain files and folders is made, and a folder that is there is
    complete: everything goes to a temporary folder beside it, which is renamed at the end.

    Args:
        archive: the zip file.
        folder: where to; its parent is made if it is missing.
        bounds: what the archive may become; bytes are counted while they are unpacked, for headers can lie.

    Returns:
        The files, below `folder`, in the archive's order.

    Raises:
        DataError: not a zip file, damaged, encrypted, beyond the bounds, or with members that name a place outside, a
            link, a device, or one place twice; `folder` is not made then.
    """
    archive, folder, bounds = Path(archive), Path(folder), bounds or Bounds()
    if folder.exists():
        raise DataError(f"{archive}: expected to make the folder {folder}, found it there; remove it, or name another")
    try:
        with zipfile.ZipFile(archive) as opened:
            members = check_members(archive, opened.infolist(), bounds)
            return _unpack(archive, opened, members, folder, bounds)
    except FileNotFoundError as error:
        raise DataError(f"{archive}: expected a zip file, found none") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{archive}: expected a whole zip file, found a damaged one ({error}); get it again") from error


def check_members(
    archive: Path, members: Sequence[zipfile.ZipInfo], bounds: Bounds
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files among the members by their path, after looking at every name, kind and stated size.

    Raises:
        DataError: as `safe_extract`.
    """
    if len(members) > bounds.files:
        raise DataError(f"{archive}: expected at most {bounds.files} members, found {len(members)}")
    total = sum(member.file_size for member in members)
    if total > bounds.total_bytes:
        raise _too_much(archive, f"{total} bytes unpacked", f"{bounds.total_bytes}")
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    for member in members:
        path = member_path(archive, member)
        if member.is_dir():
            continue
        # Windows and macOS see one file in names that differ by case alone
        if str(path).casefold() in taken:
            raise DataError(f"{archive}: expected each name once, found '{path}' twice")
        taken.add(str(path).casefold())
        found[path] = member
    return found


def member_path(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    """Relative path of a member.

    Raises:
        DataError: the name leads elsewhere, or the member is a link, a device or encrypted.
    """
    # zipfile has turned backslashes and cut at NUL in `filename`; the name as it was written must be harmless already
    name = member.orig_filename
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or "\\" in name or name[1:_DRIVE] == ":"
    if leads_out or not path.parts or any(ord(character) < 32 for character in name):
        raise DataError(f"{archive}: expected names inside the archive, found {name!r}; do not unpack this file")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a special file"
        raise DataError(
            f"{archive}: expected files and folders, found {name!r}, {what}; pack it with what it points to"
        )
    if member.flag_bits & 1:
        raise DataError(f"{archive}: {name!r} is encrypted; unpack it yourself and name the folder")
    return path


def _unpack(
    archive: Path,
    opened: zipfile.ZipFile,
    members: dict[PurePosixPath, zipfile.ZipInfo],
    folder: Path,
    bounds: Bounds,
) -> list[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        left = bounds.total_bytes
        for path, member in members.items():
            target = temporary.joinpath(*path.parts)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _inflate(archive, opened, member, target, left, bounds)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise DataError(f"{archive}: expected each name once, found '{path}' as file and folder") from error
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [folder.joinpath(*path.parts) for path in members]


def _inflate(
    archive: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, bounds: Bounds
) -> int:
    """Bytes of one member, written to `target`; stops as soon as a bound is passed."""
    most = max(bounds.free_ratio_bytes, int(bounds.ratio * max(1, member.compress_size)))
    written = 0
    with opened.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > left:
                raise _too_much(archive, "more bytes than that while unpacking", f"{bounds.total_bytes}")
            if written > most:
                found = f"{member.orig_filename!r} growing beyond {bounds.ratio:g} times its packed size"
                raise _too_much(archive, found, f"{bounds.total_bytes}")
            sink.write(chunk)
    return written


def _too_much(archive: Path, found: str, most: str) -> DataError:
    return DataError(
        f"{archive}: expected at most {most} bytes unpacked, found {found}; unpack it yourself if you trust it"
    )
