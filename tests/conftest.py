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
from pathlib import Path

import pytest

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
    """Address of a Ray cluster of this machine's own, with two CPUs, free ports and a folder for all that it writes.

    Its processes, and no others, are ended afterwards.
    """
    pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="fray"))  # sockets below it: the path must stay short
    port = _free_port()
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
        *(f"--port={port}", f"--temp-dir={folder}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"),
        *("--object-store-memory=100000000", "--disable-usage-stats", f"--ray-client-server-port={_free_port()}"),
        *(f"--dashboard-agent-listen-port={_free_port()}", "--min-worker-port=0", "--max-worker-port=0"),
    ]
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(folder),
    }
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(port, head, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, 9)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, head: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(2400):  # minutes, on a busy machine
        if head.poll() is not None:
            break
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"no cluster on port {port}: {log.read_text()}")
