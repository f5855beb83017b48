"""A training does not grow with its epochs; the benchmark that measures it sees a leak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
#: MB an epoch. Whatever an epoch keeps (a batch, a validated case, its scores) is above it.
BOUND = 0.4
#: An epoch's end may be 4 MB from the next with nothing kept. Over so many epochs that moves the slope by 0.05 MB an
#: epoch (standard deviation); over 14 after the warm-up it was 0.24, and one training of fifteen "grew".
EPOCHS, WARMUP = 40, 6


def growth(tmp_path: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_memory.py")]
    command += ["--epochs", str(EPOCHS), "--warmup", str(WARMUP), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert len(run["mb"]) == EPOCHS
    return run


@pytest.mark.parametrize(
    ("workers", "cache"),
    [pytest.param("0", "ram", marks=pytest.mark.long), pytest.param("2", "none", marks=pytest.mark.slow)],
)
def test_memory_does_not_grow_with_epochs(tmp_path: Path, workers: str, cache: str) -> None:
    run = growth(tmp_path, "--workers", workers, "--cache", cache)
    assert run["slope_mb_per_epoch"] < BOUND, run


@pytest.mark.slow
def test_a_leak_is_seen(tmp_path: Path) -> None:
    run = growth(tmp_path, "--workers", "2", "--cache", "none", "--leak-mb", "1")
    assert run["slope_mb_per_epoch"] > 2 * BOUND, run
