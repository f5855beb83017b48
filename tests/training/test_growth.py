"""A training does not grow with its epochs; the benchmark that measures it sees a leak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
#: MB an epoch. Whatever an epoch keeps (a batch, a validated case, its scores) is above it.
BOUND = 0.4


def growth(tmp_path: Path, *options: str) -> float:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_memory.py"), "--epochs", "20", "--warmup", "6"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    return run["slope_mb_per_epoch"]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "cache"), [("0", "ram"), ("2", "none")])
def test_memory_does_not_grow_with_epochs(tmp_path: Path, workers: str, cache: str) -> None:
    assert growth(tmp_path, "--workers", workers, "--cache", cache) < BOUND


@pytest.mark.slow
def test_a_leak_is_seen(tmp_path: Path) -> None:
    assert growth(tmp_path, "--workers", "0", "--cache", "ram", "--leak-mb", "1") > 2 * BOUND
