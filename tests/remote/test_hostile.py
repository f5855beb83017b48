"""A cluster in the wrong hands: no answer of it leads outside the copies, runs code or fills the disk."""

from __future__ import annotations

import asyncio
import getpass
import os
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath

import asyncssh
import pytest
import torch

from fran.errors import ConfigError, StoreError
from fran.io.checkpoint import read_model
from fran.remote.cluster import Cluster
from fran.remote.runs import fetch_run, list_runs
from fran.remote.settings import HpcSettings

NAMES = [
    *(b"../../evil", b"..", b".", b"/etc/cron.d/evil", b"a/../../evil", b"..\\evil", b"C:evil", b"a\nb", b"a\x00b"),
    *(b"-rf", b".ssh", b"$(touch owned)", b"\xff\xfe", b"\x1b[2Jx", b"x" * 300, b"", b"good"),
]
ENDLESS = 10**9


class Exploit:
    """Pickled, it makes a file as soon as it is loaded by anything that trusts pickles."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


class Hostile(asyncssh.SFTPServer):
    """Lists what it likes, has every checkpoint that is asked for, and sends what it likes."""

    content = b""
    claimed: int | None = None

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        for name in NAMES:
            yield asyncssh.SFTPName(name, attrs=asyncssh.SFTPAttrs())

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        size = len(self.content) if self.claimed is None else self.claimed
        return asyncssh.SFTPAttrs(type=asyncssh.FILEXFER_TYPE_REGULAR, permissions=0o100644, size=size, mtime=1)

    lstat = stat

    def open(self, path: bytes, pflags: int, attrs: object) -> object:
        return object()

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        whole = self.content if self.content else b"\0" * ENDLESS
        return whole[offset : offset + size]

    def close(self, file_obj: object) -> None:
        pass


class _Anybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HpcSettings]:
    """Settings of a login to a server that is trusted, and should not be."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Hostile, "content", b"")
    monkeypatch.setattr(Hostile, "claimed", None)
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=_Anybody, server_host_keys=[key], sftp_factory=Hostile
        )

    acceptor = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = acceptor.get_port()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode().strip()}\n")
    try:
        yield HpcSettings("127.0.0.1", getpass.getuser(), PurePosixPath("/scratch"), port, None, known)
    finally:
        loop.call_soon_threadsafe(acceptor.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def test_names_that_lead_elsewhere_are_no_runs(hostile: HpcSettings, caplog: pytest.LogCaptureFixture) -> None:
    with Cluster(hostile) as cluster:
        assert [run.name for run in list_runs(cluster, "kits")] == ["good"]
    assert r"../../evil" in caplog.text
    assert "\x1b" not in caplog.text, "what moves a terminal's cursor is shown as text"


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a\nb", "..", "", "x" * 300])
def test_such_a_name_cannot_be_asked_for(name: str, hostile: HpcSettings, tmp_path: Path) -> None:
    with Cluster(hostile) as cluster, pytest.raises(ConfigError, match="expected the name of a run"):
        fetch_run(cluster, "kits", name, "best", tmp_path / "deep" / "copies")
    assert not (tmp_path / "deep").exists()


def test_a_checkpoint_that_runs_code_is_fetched_and_never_loaded(
    hostile: HpcSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = tmp_path / "owned"
    pickle.loads(pickle.dumps(Exploit(owned)))
    assert owned.exists(), "the payload works"
    owned.unlink()
    evil = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "fran": Exploit(owned)}, evil)
    monkeypatch.setattr(Hostile, "content", evil.read_bytes())
    with Cluster(hostile) as cluster:
        path = fetch_run(cluster, "kits", "good", "best", tmp_path / "copies")
    assert path.is_relative_to(tmp_path / "copies")
    with pytest.raises(StoreError, match="cannot be loaded as plain data"):
        read_model(path)
    assert not owned.exists()


def test_bytes_without_end(hostile: HpcSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hostile, "claimed", 5_000_000)
    with Cluster(hostile) as cluster, pytest.raises(StoreError, match="expected 5000000 bytes, got more"):
        fetch_run(cluster, "kits", "good", "best", tmp_path / "copies")
    left = [path for path in (tmp_path / "copies").rglob("*") if path.is_file() and path.stat().st_size > 0]
    assert left == [], "nothing of it stays"


def test_a_size_that_no_disk_has(hostile: HpcSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hostile, "claimed", 10**18)
    with Cluster(hostile) as cluster, pytest.raises(StoreError, match="found a full disk"):
        fetch_run(cluster, "kits", "good", "best", tmp_path / "copies")
