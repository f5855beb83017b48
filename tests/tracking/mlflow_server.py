"""An MLflow server on the loopback interface, for tests of what talks to one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 300


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, store: str | None = None, port: int | None = None) -> Iterator[str]:
    """Address of a server that keeps artefacts itself; `store` is SQLite in the folder by default."""
    port = port or free_port()
    call = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", store or f"sqlite:///{(folder / 'mlflow.db').as_posix()}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(call, env=environment, cwd=folder, start_new_session=True) as process:
        try:
            end = time.monotonic() + WAIT_S
            while not _answers(port):
                assert process.poll() is None, "mlflow server ended"
                assert time.monotonic() < end, "mlflow server does not answer"
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.read() == b"OK")
    except (urllib.error.URLError, OSError):
        return False
