"""The command that serves the interface, without starting the server itself."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from fran.errors import ConfigError, StoreError
from fran.tracking.ui import check_port, run_ui, ui_command


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
