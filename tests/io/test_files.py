from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fran.errors import StoreError
from fran.io.files import atomic_path, file_digest, read_json, write_json


def test_a_failing_block_leaves_the_former_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"b": 1, "a": [2]})
    before = target.read_bytes()
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half a fi")
        1 / 0  # noqa: B018
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]
    assert read_json(target) == {"a": [2], "b": 1}


def test_a_killed_writer_leaves_the_former_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, "before")
    code = (
        "import os, signal\nfrom fran.io.files import atomic_path\n"
        f"with atomic_path({str(target)!r}) as t:\n    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert read_json(target) == "before"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(former)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_unreadable_json_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found none"):
        read_json(tmp_path / "no.json")
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(StoreError, match="expected JSON"):
        read_json(tmp_path / "half.json")


def test_digest_depends_on_the_bytes_alone(tmp_path: Path) -> None:
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")
