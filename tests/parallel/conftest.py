"""A Ray cluster of this machine's own, on free ports, with everything it writes in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """Address of a cluster with two CPUs; its processes, and no others, are ended afterwards."""
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
    for _ in range(600):
        if head.poll() is not None:
            break
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"no cluster on port {port}: {log.read_text()}")
