"""Fixtures for every room: real data where they are at hand, a home folder of its own for each test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
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

    def run(*arguments: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
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
