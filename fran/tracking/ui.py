"""The MLflow user interface on a project's store, in two processes instead of sixteen."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from rich.console import Console

from fran.errors import ConfigError, StoreError

#: Without job execution and with one worker the server needs a seventh of the memory and a third of the time to come up
#: (measured with MLflow 3.17: 0.5 GB and 17 s against 3.7 GB and 49 s).
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
PORTS_TRIED = 100
STOP_S = 10.0
PATIENCE_S = 5.0
"""For one answer of a server that has come up."""
log = logging.getLogger("fran.ui")


def ui_arguments(db: Path | str, port: int = 5000, host: str = "127.0.0.1") -> list[str]:
    """Arguments of the `mlflow` command for a project's mlflow.db."""
    uri = f"sqlite:///{Path(db).resolve().as_posix()}"
    return ["server", "--workers", "1", "--host", host, "--port", str(port), "--backend-store-uri", uri]


def ui_command(db: Path | str, port: int = 5000, host: str = "127.0.0.1") -> str:
    """The plain shell command that does the same as `run_ui`."""
    environment = " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
    return f"{environment} {shlex.join(['mlflow', *ui_arguments(db, port, host)])}"


def run_ui(
    db: Path | str, port: int = 5000, host: str = "127.0.0.1", environment: Mapping[str, str] | None = None
) -> int:
    """Serve the interface until Ctrl-C; return the server's exit status (130 after Ctrl-C).

    Args:
        db: the project's mlflow.db.
        port: port to listen on.
        host: address to listen on; the default lets nobody else in.
        environment: the environment to start from, the process's own by default.

    Raises:
        StoreError: there is no such file yet.
        ConfigError: the port is taken; the message names the next free one.
    """
    if not Path(db).is_file():
        raise StoreError(
            f"{db}: expected the project's MLflow store, found nothing; train a run first, or check the project"
        )
    check_port(port, host)
    log.info("starting MLflow's server, which takes some seconds …")
    page = runs_page(db, port, host)
    call = [sys.executable, "-m", "mlflow", *ui_arguments(db, port, host)]
    # a session of its own, so that one signal ends the server with all its workers, whoever was told to stop
    with subprocess.Popen(call, env={**(environment or os.environ), **ENVIRONMENT}, start_new_session=True) as server:
        former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            if _answers(server, port, host):
                console = Console(soft_wrap=True, highlight=False, markup=False)
                console.print(f"{page}   (Ctrl-C ends it; the same by hand:)")
                console.print(ui_command(db, port, host))
            return server.wait()
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        finally:
            _stop(server)
            signal.signal(signal.SIGTERM, former)


def runs_page(db: Path | str, port: int = 5000, host: str = "127.0.0.1") -> str:
    """Address of the table of training runs of the experiment that changed last.

    MLflow's own start page shows what is meant for language models first.
    """
    from fran.tracking.mlflow_logger import client_of

    client = client_of(f"sqlite:///{Path(db).resolve().as_posix()}")
    found = client.search_experiments(order_by=["last_update_time DESC"])
    experiment = next((e.experiment_id for e in found if e.name != "Default"), "0")
    return f"http://{host}:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning"


def check_port(port: int, host: str = "127.0.0.1") -> None:
    """Raise `ConfigError` when nothing can listen on a port; the message names the next free one."""
    if not 0 < port < 65536:
        raise ConfigError(f"port: expected 1 to 65535, found {port}")
    if _is_free(port, host):
        return
    free = next((p for p in range(port + 1, min(port + PORTS_TRIED, 65536)) if _is_free(p, host)), None)
    hint = f"use port {free}, which is free" if free else "choose another one"
    raise ConfigError(f"port: {port} on {host} is taken by another program; {hint}, or end that program")


def _answers(server: subprocess.Popen[bytes], port: int, host: str) -> bool:
    """Wait until the server answers; False where it has ended instead."""
    there = "127.0.0.1" if host in ("0.0.0.0", "") else host
    while server.poll() is None:
        with closing(HTTPConnection(there, port, timeout=PATIENCE_S)) as connection, suppress(OSError, HTTPException):
            connection.request("GET", "/health")
            if connection.getresponse().status == HTTPStatus.OK:
                return True
        time.sleep(0.2)
    return False


def _is_free(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just ended leaves the port waiting
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server and its workers to end, after ten seconds make them.

    Not by SIGINT, of which its workers tell in tracebacks.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + STOP_S
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
            while time.monotonic() < end:
                server.poll()  # takes it off the list of processes, so that its group can vanish
                os.killpg(server.pid, 0)
                time.sleep(0.05)
            continue
        return
