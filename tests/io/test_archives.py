"""Archives from elsewhere: what is harmless comes out whole, everything else leaves nothing behind."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from fran.errors import DataError
from fran.io.archives import Bounds, safe_extract


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.filename = info.orig_filename = name  # ZipInfo itself would turn backslashes
            info.compress_type = compression
            archive.writestr(info, content)
    return path


def _left(tmp_path: Path, archive: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path != archive]


def test_a_harmless_archive_comes_out_whole(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"b/": b"", "b/c/one.txt": b"1" * 3000, "two.bin": bytes(range(256))})
    files = safe_extract(archive, tmp_path / "deep" / "out")
    assert [file.relative_to(tmp_path / "deep" / "out").as_posix() for file in files] == ["b/c/one.txt", "two.bin"]
    assert files[0].read_bytes() == b"1" * 3000
    assert files[1].read_bytes() == bytes(range(256))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    with pytest.raises(DataError, match="found it there"):
        safe_extract(archive, tmp_path / "deep" / "out")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/tmp/evil",
        "..",
        "C:/evil",
        "C:evil",
        "..\\evil",
        "a\\..\\..\\evil",
        "a\nb",
        "\\\\host\\x",
    ],
)
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"fine": b"1", name: b"evil"})
    with pytest.raises(DataError, match="names inside the archive"):
        safe_extract(archive, tmp_path / "in" / "out")
    assert not _left(tmp_path, archive)


@pytest.mark.parametrize(("mode", "said"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "a special file")])
def test_links_and_devices(mode: int, said: str, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        link = zipfile.ZipInfo("models")
        link.create_system = 3
        link.external_attr = (mode | 0o777) << 16
        opened.writestr(link, "/etc")
        opened.writestr("models/passwd", "x")
    with pytest.raises(DataError, match=said):
        safe_extract(archive, tmp_path / "out")
    assert not _left(tmp_path, archive)


def test_one_place_twice(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"Model.pt": b"1", "model.pt": b"2"})
    with pytest.raises(DataError, match="each name once"):
        safe_extract(archive, tmp_path / "out")
    clash = _zip(tmp_path / "b.zip", {"a": b"1", "a/b": b"2"})
    with pytest.raises(DataError, match="as file and folder"):
        safe_extract(clash, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bombs(tmp_path: Path) -> None:
    bounds = Bounds(files=3, total_bytes=1 << 20, ratio=100, free_ratio_bytes=1 << 16)
    zeros = _zip(tmp_path / "ratio.zip", {"zeros": bytes(1 << 19)})
    with pytest.raises(DataError, match="100 times its packed size"):
        safe_extract(zeros, tmp_path / "out", bounds)
    stored = _zip(tmp_path / "size.zip", {"a": bytes(1 << 19), "b": bytes((1 << 19) + 1)}, zipfile.ZIP_STORED)
    with pytest.raises(DataError, match="at most 1048576 bytes"):
        safe_extract(stored, tmp_path / "out", bounds)
    many = _zip(tmp_path / "many.zip", {str(i): b"" for i in range(4)})
    with pytest.raises(DataError, match="at most 3 members, found 4"):
        safe_extract(many, tmp_path / "out", bounds)
    assert not (tmp_path / "out").exists()


def test_a_header_that_lies_about_the_size(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"zeros": bytes(1 << 19)}, zipfile.ZIP_STORED)
    content = archive.read_bytes()
    lying = content.replace(struct.pack("<II", 1 << 19, 1 << 19), struct.pack("<II", 1 << 19, 16))
    assert lying != content
    archive.write_bytes(lying)
    with pytest.raises(DataError):
        safe_extract(archive, tmp_path / "out", Bounds(total_bytes=1 << 10))
    assert not _left(tmp_path, archive)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "none"])
def test_damaged_archives(damage: str, tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a": bytes(range(256)) * 40, "b": b"2"}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[200] ^= 0xFF
    damaged = {"cut": content[:-30], "flipped": content, "text": b"hello"}
    archive.unlink() if damage == "none" else archive.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"expected a (whole )?zip file"):
        safe_extract(archive, tmp_path / "out")
    assert not _left(tmp_path, archive)
