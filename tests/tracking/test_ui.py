"""The command that serves the interface, without starting the server itself."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fran.errors import ConfigError, StoreError
from fran.tracking.mlflow_logger import make_logger, tracking_db
from fran.tracking.settings import TrackingSettings
from fran.tracking.ui import check_port, run_ui, ui_command

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_the_command_uses_one_worker_and_the_absolute_store(tmp_path: Path) -> None:
    words = shlex.split(ui_command(tmp_path / "my project" / "mlflow.db", 5123))
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in words[:2]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert words[2:4] == ["mlflow", "server"]
    assert options == {
        "--workers": "1",
        "--host": "127.0.0.1",
        "--port": "5123",
        "--backend-store-uri": f"sqlite:///{tmp_path.resolve()}/my project/mlflow.db",
    }


def test_a_taken_port_names_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port: {port} .* is taken.*use port (\d+)") as caught:
            check_port(port)
        suggested = int(str(caught.value).split("use port ")[1].split(",")[0])
    assert suggested > port
    check_port(suggested)
    check_port(port)


def test_without_a_store_nothing_is_served(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"mlflow\.db.*train a run first"):
        run_ui(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def test_the_address_is_printed_when_the_server_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_logger(TrackingSettings(), project="kits", run_name="r", project_folder=tmp_path, run_folder=tmp_path / "r")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # in the server's place: refuses for a second, answers three times, and ends
    code = (
        "import http.server, time; time.sleep(1)\n"
        "class Health(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        f"server = http.server.HTTPServer(('127.0.0.1', {port}), Health)\n"
        "server.handle_request(); open('answered', 'w').close(); time.sleep({linger}); raise SystemExit(3)"
    )
    stub = tmp_path / "mlflow.py"
    monkeypatch.setattr("fran.tracking.ui.ui_arguments", lambda *_: [])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    stub.write_text(code.format(linger=1))
    assert run_ui(tracking_db(tmp_path), port) == 3
    assert capsys.readouterr().out.startswith(f"http://127.0.0.1:{port}/#/experiments/")
    assert (tmp_path / "answered").exists()
    stub.write_text("raise SystemExit(4)")
    assert run_ui(tracking_db(tmp_path), port) == 4
    assert capsys.readouterr().out == "", "no address of a server that never answered"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_shows_artefacts_and_ends_whole(tmp_path: Path, number: signal.Signals) -> None:
    logger = make_logger(
        TrackingSettings(), project="kits", run_name="r", project_folder=tmp_path, run_folder=tmp_path / "r"
    )
    assert logger is not None
    run_id = str(logger.run_id)
    logger.experiment.log_text(run_id, "hello", "overlays/a.txt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # a test run started in the background inherits SIGINT ignored, which Ctrl-C in a terminal never meets
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from fran.tracking.ui import run_ui; sys.exit(run_ui(sys.argv[1], int(sys.argv[2])))"
    )
    ui = subprocess.Popen([sys.executable, "-c", code, str(tracking_db(tmp_path)), str(port)], **PIPES)
    try:
        assert ui.stdout is not None
        first = next(line for line in ui.stdout if line.startswith(b"http://"))  # comes when the server answers
        url = f"http://127.0.0.1:{port}/get-artifact?path=overlays/a.txt&run_uuid={run_id}"
        assert _fetch(url, 5) == b"hello"
    finally:
        os.kill(ui.pid, number)
        output, errors = ui.communicate(timeout=40)
    assert ui.returncode == 128 + number
    assert b"Traceback" not in errors and b"Shutting down" in errors
    assert b"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in output
    assert f"http://127.0.0.1:{port}/#/experiments/{logger.experiment_id}/runs".encode() in first
    check_port(port)


def _fetch(url: str, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                content: bytes = answer.read()
                return content
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
