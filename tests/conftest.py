"""Fixtures for every room: real data where they are at hand, a home folder of its own for each test, a Ray cluster."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fran.parallel.ray import PATIENCE

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

REPOSITORY = Path(__file__).resolve().parents[1]
Fran = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans, one datasource a folder; tests that use it carry the marker `realdata`."""
    folder = Path(os.environ.get("FRAN_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "hippo" / "images").is_dir():
        pytest.skip(f"no real scans in {folder}; FRAN_SHARED_DATA may name another folder")
    return folder


@pytest.fixture
def fran_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder for fran, named by FRAN_HOME."""
    home = tmp_path / "home"
    monkeypatch.setenv("FRAN_HOME", str(home))
    monkeypatch.delenv("FRAN_CONF", raising=False)
    monkeypatch.delenv("FRAN_COMMON_PATHS", raising=False)
    return home


@pytest.fixture
def fran(fran_home: Path, tmp_path: Path) -> Fran:
    """Run `fran <arguments>` as a user would, in an empty folder; nothing may be left in that folder."""
    folder = tmp_path / "here"
    folder.mkdir()

    def run(*arguments: str, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "fran.cli", *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(REPOSITORY), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not list(folder.iterdir()), f"fran {arguments[0]} left files where it was typed"
        return done

    return run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """Address of a Ray cluster of this machine's own, with two CPUs."""
    with _ray_cluster(head=2) as address:
        yield address


@pytest.fixture
def ray_of_two_nodes() -> Iterator[str]:
    """Address of a Ray cluster of two nodes, `head` with one CPU and `second` with two; jobs find the name in NODE."""
    with _ray_cluster(head=1, second=2) as address:
        yield address


@contextmanager
def _ray_cluster(**cpus: int) -> Iterator[str]:
    """Nodes by name on this machine's loopback, with free ports and a folder for all that they write.

    Their processes, and no others, are ended afterwards.
    """
    pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="fray"))  # sockets below it: the path must stay short
    address = f"127.0.0.1:{_free_port()}"
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for name, number in cpus.items():
            nodes.append(_started(folder, name, number, address, head=not nodes))
        yield address
    finally:
        for node in reversed(nodes):
            _end(node)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, name: str, cpus: int, address: str, *, head: bool) -> subprocess.Popen[bytes]:
    log = folder / f"{name}.log"
    for _ in range(5):  # Ray itself gives its agents 15 seconds to start, which are short on a busy machine
        node, until = _ray_node(log, name, cpus, address, head=head), time.monotonic() + 240
        try:
            while node.poll() is None and time.monotonic() < until:
                if "Ray runtime started" in log.read_text():
                    return node
                time.sleep(0.1)
        except BaseException:
            _end(node)
            raise
        _end(node)
    pytest.fail(f"node {name} did not start at {address}: {log.read_text()}")


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    with suppress(subprocess.TimeoutExpired):
        node.wait(60)
    with suppress(ProcessLookupError):
        os.killpg(node.pid, 9)


def _ray_node(log: Path, name: str, cpus: int, address: str, *, head: bool) -> subprocess.Popen[bytes]:
    first = ("--head", f"--port={address.rpartition(':')[2]}", f"--temp-dir={log.parent}", "--include-dashboard=false")
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus}"),
        *((*first, f"--ray-client-server-port={_free_port()}") if head else (f"--address={address}",)),
        *("--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats"),
        *("--min-worker-port=0", "--max-worker-port=0"),
        *(f"--{name}-port={_free_port()}" for name in ("dashboard-agent-listen", "dashboard-agent-grpc")),
        *(f"--{name}-port={_free_port()}" for name in ("runtime-env-agent", "metrics-export")),
    ]
    environment = (
        {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        | PATIENCE
        | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(log.parent),
            "NODE": name,
        }
    )
    with log.open("w") as stream:
        return subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
