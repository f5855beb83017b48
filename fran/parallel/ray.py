"""Run a function over jobs on a Ray cluster; same promises as the local pool.

Files are read and written where the task runs, so every node must see the raw data and the output under the same paths,
and have fran installed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fran.errors import ConfigError
from fran.parallel.jobs import ONE_THREAD, WORKER_DIED, Failure, Job, Result, attempt

_STORE_BYTES = 200_000_000  # results are small; Ray would take a third of the memory for them
_ANSWER_SECONDS = 10.0
#: Settings of Ray: where every core trains, its processes answer late, and by default it takes what is late for dead.
PATIENCE = {
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_failure_threshold": "60",
}
_SIZES = ("num_cpus", "num_gpus", "object_store_memory", "include_dashboard", "resources")


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster as a backend (`fran.parallel.jobs.Execute`).

    Args:
        address: ``"auto"`` for the cluster that runs on this machine (``$RAY_ADDRESS`` where set), ``"local"`` to start
            one for the time of the call, or ``host:port`` of a head node.

    Raises:
        ConfigError: on a call, where Ray is not installed or no cluster answers.
    """

    address: str = "auto"

    def __call__(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int
    ) -> Iterator[tuple[int, Result | Failure]]:
        """Results as they come; at most `num_processes` jobs at a time, one CPU each."""
        if not jobs:
            return
        with connected(self.address, num_cpus=max(num_processes, 1)) as ray:
            # a job that kills its worker would kill the next one too
            remote = ray.remote(num_cpus=1, max_retries=0)(_single_threaded)
            waiting = iter(enumerate(jobs))
            running: dict[Any, int] = {}
            for index, job in waiting:
                running[remote.remote(function, job)] = index
                if len(running) < max(num_processes, 1):
                    continue
                yield _first(ray, running)
            while running:
                yield _first(ray, running)


def _single_threaded(function: Callable[[Any], Any], job: Any) -> Any:
    """Body of a task."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    return attempt(function, job)


def _first(ray: Any, running: dict[Any, int]) -> tuple[int, Any]:
    """Take the first job that is finished off `running`."""
    (done,), _ = ray.wait(list(running), num_returns=1)
    index = running.pop(done)
    try:
        return index, ray.get(done)
    except ray.exceptions.OutOfMemoryError as error:
        text = "Ray killed the worker because memory ran out; use fewer processes"
        return index, Failure(WORKER_DIED, text, str(error))
    except ray.exceptions.RayError as error:
        text = f"the worker was killed, or its node was lost ({type(error).__name__}); most often memory ran out"
        return index, Failure(WORKER_DIED, text, str(error))


@contextmanager
def connected(address: str, setting: str = "ray_address", **own: Any) -> Iterator[Any]:
    """The module ``ray``, connected for the time of the block; a connection that is there already is used and kept.

    Args:
        address: see `RayCluster`.
        setting: that it comes from, for messages.
        own: further arguments of ``ray.init``; sizes count for a cluster that is started here, others have theirs.

    Raises:
        ConfigError: Ray is not installed, no cluster answers, or none starts here.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    _check_reachable(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address, setting)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    sizes = {"object_store_memory": _STORE_BYTES, "include_dashboard": False} if address == "local" else {}
    stated = {k: v for k, v in own.items() if v is not None and (address == "local" or k not in _SIZES)}
    try:
        ray.init(address=address, **quiet | sizes | stated)
    except Exception as error:
        # of no class of its own: that its processes did not answer in time
        if isinstance(error, ConnectionError | RuntimeError | ValueError) or type(error) is Exception:
            raise _no_cluster(address, error, setting) from error
        raise
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str, setting: str) -> None:
    """Ray itself goes on asking an address where nobody answers for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error, setting) from error


def _no_cluster(address: str, error: Exception, setting: str) -> ConfigError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if address == "local":
        return ConfigError(
            f"{setting}: expected Ray to start on this machine, which it did not ({reason}); where the machine is very "
            "busy try again later, or go without Ray"
        )
    return ConfigError(
        f"{setting}: expected a Ray cluster at '{address}', found none ({reason}); start one with "
        f"`ray start --head`, or set {setting}=local"
    )


def _ray() -> Any:
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "backend=ray, hydra/launcher=ray: expected Ray to be installed, found none; pip install 'fran[ray]', or "
            "leave them away"
        ) from error
    return ray
