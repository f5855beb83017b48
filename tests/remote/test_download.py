"""Downloads from a real OpenSSH server, and what networks, disks and other people do to them meanwhile."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fran.errors import ConfigError, StoreError
from fran.io.files import read_json
from fran.remote import download as module
from fran.remote.cluster import Cluster
from fran.remote.copies import read_record, sha256_of
from fran.remote.download import download
from fran.remote.login import Unreachable
from fran.remote.runs import copies_of, copy_state, fetch_run, find_run

SIZE = 10_000_000  # several pieces, so that something can happen between two


class Once:
    """Does something when the first bytes have come; remembers how far each call was."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action, self.seen = action, list[int]()

    def __call__(self, done: int, total: int) -> None:
        self.seen.append(done)
        if len(self.seen) == 1:
            self.action()


def begun(cluster: Cluster, path: Path, part: Path, content: bytes) -> None:
    """An earlier command came as far as `content` with the present file."""
    state = cluster.state(str(path))
    assert state is not None
    module._begun(part, {"path": str(path), "size": state.size, "mtime": state.mtime, "sha256": sha256_of(path)})
    part.write_bytes(content)


def test_a_download_is_the_file_and_says_how_it_was_checked(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "here" / "best.ckpt"
    seen: list[tuple[int, int]] = []
    with Cluster(server.settings) as cluster:
        copy = download(cluster, str(path), target, lambda *done: seen.append(done))
    assert sha256_of(target) == sha256_of(path)
    assert copy.sha256 == sha256_of(path)
    assert copy.checked == module.BY_CLUSTER
    assert read_record(target) == copy
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    assert len(seen) > 3
    assert sorted(p.name for p in target.parent.iterdir()) == ["best.ckpt", "best.ckpt.json"]


def test_a_cut_connection_is_made_anew_and_goes_on(server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"
    cut = Once(server.cut)
    with Cluster(server.settings) as cluster:
        download(cluster, str(path), target, cut, pause_s=0)
    assert sha256_of(target) == sha256_of(path)
    assert cut.seen == sorted(set(cut.seen)), "no byte came twice"
    assert "the connection was lost" in caplog.text


@pytest.mark.slow
def test_what_came_stays_for_the_next_command(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"

    def end() -> None:
        server.process.terminate()
        server.process.wait(10)
        os.kill(int(children[0]), 9)

    with Cluster(server.settings) as cluster:
        cluster.state(str(path))
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        gone = Once(end)
        with pytest.raises(Unreachable, match=r"\d+ bytes are here, the same command goes on from there"):
            download(cluster, str(path), target, gone, pause_s=0)
    part = tmp_path / "best.ckpt.part"
    assert not target.exists()
    assert 0 < part.stat().st_size < path.stat().st_size
    assert part.read_bytes() == path.read_bytes()[: part.stat().st_size]


@pytest.mark.slow
@pytest.mark.parametrize("other", [False, True])
def test_a_part_is_used_only_for_the_content_it_began(other: bool, server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"
    part = tmp_path / "best.ckpt.part"
    with Cluster(server.settings) as cluster:
        begun(cluster, path, part, path.read_bytes()[:6_000_000])
        if other:
            server.run("one", SIZE, seed=1)
        first = Once(lambda: None)
        download(cluster, str(path), target, first)
    assert sha256_of(target) == sha256_of(path)
    assert (first.seen[0] > 6_000_000) is not other


@pytest.mark.slow
def test_a_damaged_part_is_found_by_the_checksum(server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"
    part = tmp_path / "best.ckpt.part"
    with Cluster(server.settings) as cluster:
        begun(cluster, path, part, bytes(6_000_000))
        download(cluster, str(path), target)
    assert sha256_of(target) == sha256_of(path)
    assert "expected SHA-256" in caplog.text


@pytest.mark.slow
def test_a_file_that_changes_meanwhile_is_fetched_again(
    server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"
    with Cluster(server.settings) as cluster:
        download(cluster, str(path), target, Once(lambda: server.run("one", SIZE + 7, seed=1)))
        assert sha256_of(target) == sha256_of(path)
        assert "it was changed while it was read" in caplog.text
        turn = iter(range(100))

        def always(done: int, total: int) -> None:
            server.run("one", SIZE + next(turn) + 8, seed=2)

        target.unlink()
        with pytest.raises(StoreError, match="twice; wait until it is written"):
            download(cluster, str(path), target, always)
    assert not target.exists()


def test_a_change_that_size_and_time_do_not_show(server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"
    times = path.stat().st_atime, int(path.stat().st_mtime)
    os.utime(path, times)

    def replace_within_the_second() -> None:
        server.run("one", SIZE, seed=1)
        os.utime(path, times)

    with Cluster(server.settings) as cluster:
        download(cluster, str(path), target, Once(replace_within_the_second))
    assert sha256_of(target) == sha256_of(path)
    assert "it was changed while it was read" in caplog.text


def test_a_checksum_that_never_agrees(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    path, target = server.run("one"), tmp_path / "best.ckpt"
    monkeypatch.setattr(Cluster, "sha256", lambda self, path: "0" * 64)
    with Cluster(server.settings) as cluster, pytest.raises(StoreError, match=r"expected SHA-256 000000000000…, got"):
        download(cluster, str(path), target)
    assert not target.exists()
    assert not (tmp_path / "best.ckpt.part").exists()


@pytest.mark.slow
def test_a_cluster_that_runs_no_commands(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    keys = tmp_path / "authorized_keys"
    keys.write_text(f'command="internal-sftp" {keys.read_text()}')
    path, target = server.run("one", SIZE), tmp_path / "best.ckpt"
    with Cluster(server.settings) as cluster:
        assert cluster.sha256(str(path)) is None
        assert download(cluster, str(path), target).checked == module.BY_CONTENT
        assert sha256_of(target) == sha256_of(path)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(StoreError, match="came damaged, twice"):
            download(cluster, str(path), tmp_path / "other.ckpt")


def test_files_that_may_not_be_read(server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    with Cluster(server.settings) as cluster:
        with pytest.raises(StoreError, match=r"/nowhere/best.ckpt, found none; fran hpc ls"):
            download(cluster, "/nowhere/best.ckpt", tmp_path / "a")
        if os.getuid() == 0:
            # root may read everything; the server itself is asked to refuse
            config = tmp_path / "sshd_config"
            config.write_text(config.read_text().replace("internal-sftp", "internal-sftp -P open"))
            os.kill(server.process.pid, 1)
        path = server.run("one")
        path.chmod(0)
        cluster._drop()
        while True:
            try:
                with pytest.raises(StoreError, match=r"may not be read by .*chmod -R g\+rX"):
                    download(cluster, str(path), tmp_path / "b", pause_s=0)
                break
            except Unreachable:
                continue
    assert not (tmp_path / "b").exists()


CHILD = """
import resource, sys
from pathlib import Path, PurePosixPath
from fran.errors import StoreError
from fran.remote.cluster import Cluster
from fran.remote.download import download
from fran.remote.settings import HpcSettings
host, user, storage, port, key, known, path, target = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))
with Cluster(HpcSettings(host, user, PurePosixPath(storage), int(port), Path(key), Path(known))) as cluster:
    try:
        download(cluster, path, Path(target))
    except StoreError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_full_disk_keeps_what_has_come(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, target, s = server.run("one", SIZE), tmp_path / "here" / "best.ckpt", server.settings
    values = (s.host, s.username, s.hpc_storage, s.port, s.key_file, s.known_hosts, path, target)
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, values)], capture_output=True, text=True, check=True)
    assert "found a full disk" in done.stdout
    assert "paths.cold" in done.stdout
    assert not target.exists()
    with Cluster(server.settings) as cluster:
        first = Once(lambda: None)
        download(cluster, str(path), target, first)
    assert first.seen[0] > 3_000_000
    assert sha256_of(target) == sha256_of(path)


def test_too_little_room_is_seen_before_anything_comes(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    path = server.run("one", SIZE)
    usage = module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
    with Cluster(server.settings) as cluster, pytest.raises(StoreError, match="1000 bytes free"):
        download(cluster, str(path), tmp_path / "best.ckpt", Once(lambda: pytest.fail("bytes came")))


def test_the_second_time_nothing_is_fetched(server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    caplog.set_level(logging.INFO)
    path = server.run("one", seed=1)
    copies = tmp_path / "copies"
    with Cluster(server.settings) as cluster:
        target = fetch_run(cluster, "kits", "one", "best", copies)
        assert sha256_of(target) == sha256_of(path)
        assert target.parent == copies / server.settings.folder_name / "kits" / "one"
        assert copy_state(find_run(cluster, "kits", "one"), copies_of(cluster, "kits", copies)) == "here"
        assert fetch_run(cluster, "kits", "one", "best", copies, lambda *_: pytest.fail("bytes came")) == target
        server.run("one", 2000, seed=2)
        assert copy_state(find_run(cluster, "kits", "one"), copies_of(cluster, "kits", copies)) == "stale"
        assert fetch_run(cluster, "kits", "one", "best", copies).read_bytes() == path.read_bytes()
        assert "is older than the run on 127.0.0.1; it is fetched again" in caplog.text
        target.write_bytes(b"x" * path.stat().st_size)
        assert fetch_run(cluster, "kits", "one", "best", copies).read_bytes() == path.read_bytes()
        assert "is damaged; it is fetched again" in caplog.text
    server.process.terminate()
    server.process.wait(10)
    with Cluster(server.settings) as cluster:
        assert fetch_run(cluster, "kits", "one", "best", copies) == target
        assert "whether or not it is still the newest" in caplog.text
        with pytest.raises(Unreachable):
            fetch_run(cluster, "kits", "two", "best", copies)


def test_a_run_that_is_not_there(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server.run("plan1-dynunet-f0-1", which="last.ckpt")
    (server.storage / "checkpoints" / "kits" / "begun").mkdir()
    with Cluster(server.settings) as cluster:
        with pytest.raises(StoreError, match="did you mean 'plan1-dynunet-f0-1'"):
            fetch_run(cluster, "kits", "plan1-dynunet-f0-2", "best", tmp_path)
        with pytest.raises(StoreError, match="'begun' has no checkpoint yet"):
            fetch_run(cluster, "kits", "begun", "best", tmp_path)
        for name in ("../../etc", "/etc", "a/b", ".."):
            with pytest.raises(ConfigError, match="the name of a run"):
                fetch_run(cluster, "kits", name, "best", tmp_path)
        assert fetch_run(cluster, "kits", "plan1-dynunet-f0-1", "best", tmp_path).name == "last.ckpt"


def test_the_record_holds_no_secret(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server.run("one")
    with Cluster(replace(server.settings, password="hunter2")) as cluster:
        target = fetch_run(cluster, "kits", "one", "best", tmp_path / "copies")
    record = read_json(target.with_name("best.ckpt.json"))
    assert record["source"] == f"sftp://{server.settings.place}{server.storage}/checkpoints/kits/one/best.ckpt"
    assert not [p for p in (tmp_path / "copies").rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]
