"""Logins on a real OpenSSH server: who is trusted, what is tried, and what is said when it fails."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fran.errors import StoreError
from fran.remote.cluster import Cluster
from fran.remote.login import Unreachable
from fran.remote.runs import list_runs
from fran.remote.settings import HpcSettings


@pytest.fixture
def agent(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """A running ssh-agent that holds the user's key."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert process.poll() is None
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(tmp_path / "user_key")], check=True)
        yield
    finally:
        process.terminate()
        process.wait(10)


def test_files_of_the_cluster(server) -> None:  # type: ignore[no-untyped-def]
    path = server.run("one")
    with Cluster(server.settings) as cluster:
        assert cluster.names(str(path.parents[1])) == ["one"]
        assert cluster.names(str(path.parents[1] / "none")) is None
        state = cluster.state(str(path))
        assert state is not None
        assert (state.size, state.mtime) == (path.stat().st_size, int(path.stat().st_mtime))
        assert cluster.state(str(path.parent)) is None, "a folder is no file"
        assert b"".join(cluster.read(str(path), 10)) == path.read_bytes()[10:]
        done = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True)
        assert cluster.sha256(str(path)) == done.stdout.split()[0]


def test_an_unknown_host_is_refused_before_anything_is_told_to_it(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server.settings.known_hosts.unlink()
    with Cluster(replace(server.settings, password="hunter2")) as cluster, pytest.raises(StoreError) as caught:
        cluster.names("/")
    said = str(caught.value)
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "host_key.pub")], capture_output=True, text=True, check=True
    )
    assert fingerprint.stdout.split()[1] in said
    assert "hunter2" not in said
    assert not isinstance(caught.value, Unreachable)
    log = (tmp_path / "sshd.log").read_text()
    assert "Failed" not in log, "no login may have been tried"
    assert "Accepted" not in log
    command = "echo '" + said.rpartition("echo '")[2]
    subprocess.run(["sh", "-c", command], check=True)
    with Cluster(server.settings) as cluster:
        assert cluster.names(str(server.storage)) == ["checkpoints"], "the command that is named adds the host"


def test_a_host_with_another_key_is_refused(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    kind, key = (tmp_path / "user_key.pub").read_text().split()[:2]
    name = f"[127.0.0.1]:{server.settings.port}"
    server.settings.known_hosts.write_text(f"{name} {kind} {key}\n")
    with Cluster(server.settings) as cluster, pytest.raises(StoreError, match="somebody listens in") as caught:
        cluster.names("/")
    assert f"-R '{name}'" in str(caught.value)


def test_the_agent_comes_first_and_suffices(server, agent: None, wrong_key: HpcSettings) -> None:  # type: ignore[no-untyped-def]
    with Cluster(wrong_key) as cluster:
        assert cluster.names(str(server.storage)) == ["checkpoints"]


def test_what_was_tried_is_said_without_the_password(
    server, wrong_key: HpcSettings, caplog: pytest.LogCaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    caplog.set_level(logging.DEBUG)
    settings = replace(wrong_key, password="hunter2")
    with Cluster(settings) as cluster, pytest.raises(StoreError, match="refused the login") as caught:
        cluster.names("/")
    said = str(caught.value)
    for tried in (
        "agent: none is running",
        f"key {wrong_key.key_file}: refused",
        "password of FRAN_HPC_PASSWORD: refused",
    ):
        assert tried in said
    assert "hunter2" not in said + caplog.text + repr(settings)


def test_a_key_with_a_passphrase_belongs_to_the_agent(server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(locked)], check=True)
    with (
        Cluster(replace(server.settings, key_file=locked)) as cluster,
        pytest.raises(StoreError, match=f"ssh-add {locked}"),
    ):
        cluster.names("/")


def test_nobody_answers(server) -> None:  # type: ignore[no-untyped-def]
    server.process.terminate()
    server.process.wait(10)
    with Cluster(server.settings) as cluster, pytest.raises(Unreachable, match=f"try: ssh -p {server.settings.port}"):
        cluster.names("/")


def test_runs_are_listed_wherever_the_storage_begins(server) -> None:  # type: ignore[no-untyped-def]
    server.run("one")
    server.run("two", which="last.ckpt")
    (server.storage / "checkpoints" / "kits" / "begun").mkdir()
    for storage in (server.storage, server.storage / "checkpoints"):
        with Cluster(replace(server.settings, hpc_storage=storage)) as cluster:
            assert [(run.name, list(run.files)) for run in list_runs(cluster, "kits")] == [
                ("one", ["best.ckpt"]),
                ("two", ["last.ckpt"]),
            ]
    with (
        Cluster(server.settings) as cluster,
        pytest.raises(StoreError, match="set hpc_storage to what FRAN_HOME is there"),
    ):
        list_runs(cluster, "lits")
