from __future__ import annotations

import math
import os
import signal

import pytest

from fran.parallel.jobs import Failure
from fran.parallel.local import run_jobs
from fran.parallel.ray import RayCluster

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_results_and_failures(ray_address: str) -> None:
    jobs = [4.0, -1.0, 9.0, 16.0, 25.0]
    results = dict(RayCluster(ray_address)(math.sqrt, jobs, 2))
    failure = results.pop(1)
    assert results == {0: 2, 2: 3, 3: 4, 4: 5}
    assert isinstance(failure, Failure) and failure.kind == "ValueError" and "Traceback" in failure.trace


def test_a_killed_worker_is_one_failed_job(ray_address: str) -> None:
    harmless = signal.SIGCHLD
    results = dict(RayCluster(ray_address)(signal.raise_signal, [harmless, signal.SIGKILL, harmless, harmless], 2))
    dead = {index: r for index, r in results.items() if isinstance(r, Failure)}
    assert sorted(results) == [0, 1, 2, 3]
    assert list(dead) == [1] and dead[1].kind == "WorkerDied"


def test_tasks_use_one_thread(ray_address: str) -> None:
    assert dict(RayCluster(ray_address)(os.getenv, ["OMP_NUM_THREADS"], 1)) == {0: "1"}


def test_a_cluster_for_the_time_of_the_call() -> None:
    jobs = [1.0, 4.0, 9.0]
    assert dict(RayCluster("local")(math.sqrt, jobs, 2)) == dict(run_jobs(math.sqrt, jobs, 1))
