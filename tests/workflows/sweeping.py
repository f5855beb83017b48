"""What tests of sweeps share: a tiny project, commands that take a second each, trials as files say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fran.datasources.phantom import make_phantoms

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = (
    "project=demo", "patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]", "model.filters=4", "trainer.steps_per_epoch=2",
    "trainer.num_workers=0", "trainer.max_epochs=1", "trainer.val_every_n_epochs=1", "tracking=none",
)  # fmt: skip
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


def demo_project(fran: Callable[..., Any], tmp_path: Path, cases: int = 5) -> None:
    raw = make_phantoms(tmp_path / "raw" / "demo", cases, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0


@contextmanager
def started(*arguments: str, home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`fran train <arguments>` in the background, its words in `log`; killed at the end of the block."""
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(REPOSITORY), "FRAN_HOME": str(home), "COLUMNS": "200"}
    command = [sys.executable, "-m", "fran.cli", "train", *arguments]
    with log.open("ab") as stream:
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def trials(home: Path, sweep: str = "sweep-1") -> dict[int, dict[str, Any]]:
    folder = home / "projects" / "demo" / "sweeps" / sweep
    return {int(p.parent.name): json.loads(p.read_text()) for p in folder.glob("*/trial.json")}


def runs(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "cold" / "checkpoints" / "demo").iterdir())


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.1)
