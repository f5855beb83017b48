from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fran.parallel.jobs import Failure
from fran.parallel.local import run_jobs


@pytest.mark.parametrize("num_processes", [1, 2])
def test_results_and_failures(num_processes: int) -> None:
    results = dict(run_jobs(math.sqrt, [4.0, -1.0, 9.0, 16.0], num_processes))
    failure = results.pop(1)
    assert results == {0: 2, 2: 3, 3: 4}
    assert isinstance(failure, Failure) and failure.kind == "ValueError" and "Traceback" in failure.trace


def test_a_killed_worker_is_one_failed_job() -> None:
    harmless = signal.SIGCHLD  # ignored by default
    jobs = [harmless, signal.SIGKILL, harmless, harmless, signal.SIGKILL, harmless]
    results = dict(run_jobs(signal.raise_signal, jobs, 2))
    assert sorted(results) == list(range(6))
    dead = {index: r for index, r in results.items() if isinstance(r, Failure)}
    assert sorted(dead) == [1, 4]
    assert all(r.kind == "WorkerDied" and "memory" in r.message for r in dead.values())


def test_a_worker_that_exits_is_reported() -> None:
    results = dict(run_jobs(os._exit, [3, 3], 2))
    assert all(isinstance(r, Failure) and "exit status 3" in r.message for r in results.values())


def test_workers_use_one_thread_and_leave_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    results = dict(run_jobs(os.getenv, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"], 2))
    assert results == {0: "1", 1: "1"}
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_abandoned_run_ends_its_workers() -> None:
    results = run_jobs(math.sqrt, [1.0] * 50, 2)
    next(results)
    results.close()
    assert next(run_jobs(math.sqrt, [4.0], 2)) == (0, 2.0)


def test_workers_do_not_run_the_script_that_starts_them_again(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    lines = (
        "from fran.parallel.local import run_jobs",
        "print('begun', flush=True)",
        "print(sorted(run_jobs(abs, [-1, -2], 2)))",
    )
    script.write_text("\n".join(lines))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["begun", "[(0, 1), (1, 2)]"]
