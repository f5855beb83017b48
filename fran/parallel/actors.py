"""Workers on a Ray cluster that keep something heavy, such as networks, from one job to the next.

`fran.parallel.ray` is for jobs that bring along all they need. Here a job that kills its worker fails alone, too:
another worker takes the place, and what the dead one had not begun is done by the others.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fran.errors import ConfigError, FranError
from fran.parallel.jobs import ONE_THREAD, WORKER_DIED, Failure
from fran.parallel.ray import connected

log = logging.getLogger(__name__)

_PATIENCE_S = 30.0  # before it is said that the cluster has no room yet


class Worker(Protocol):
    """What an actor holds. Jobs are numbered; results may come with a later call, but all have come after `finish`."""

    def work(self, job: tuple[int, Any], following: tuple[int, Any] | None) -> list[tuple[int, Any]]:
        """Do a job; the one that follows may be prepared meanwhile."""

    def finish(self) -> list[tuple[int, Any]]:
        """What is left."""


@dataclass(frozen=True)
class Actors:
    """How many workers, and what each takes of the cluster.

    Attributes:
        address: see `fran.parallel.ray.RayCluster`.
        count: workers; None is one a GPU, or one a machine where there are no GPUs or none is wanted.
        num_cpus: cores of each, which is also its number of threads; None shares out what there is.
        num_gpus: GPUs of each, also parts of one; None is one where the cluster has any.
    """

    address: str = "auto"
    count: int | None = None
    num_cpus: int | None = None
    num_gpus: float | None = None

    def run(self, make: Callable[[], Worker], jobs: Sequence[Any]) -> Iterator[tuple[int, Any | Failure]]:
        """Results of the jobs as they come.

        Args:
            make: makes the worker in its process; pickled, so what it holds goes through Ray's store once.
            jobs: to share out.

        Raises:
            ConfigError: no Ray, no cluster, or one that is too small for the workers.
            FranError: what `make` raises, or a worker's error that is not about a single job.
        """
        if not jobs:
            return
        with connected(self.address) as ray:
            count, options = self._shares(ray, len(jobs))
            log.info("%d workers on the cluster, each with %s", count, _said(options))
            yield from _Crew(ray, options, ray.put(ray.cloudpickle.dumps(make)), jobs).run(count)

    def _shares(self, ray: Any, n_jobs: int) -> tuple[int, dict[str, Any]]:
        """Number of workers and the resources of each.

        Raises:
            ConfigError: the cluster's machines, even when they are idle, have no room for them.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        num_gpus = float(any(node.get("GPU") for node in nodes)) if self.num_gpus is None else self.num_gpus
        hosts = [node for node in nodes if node.get("CPU") and node.get("GPU", 0.0) >= num_gpus] or nodes
        each = [int(node.get("GPU", 0.0) / num_gpus + 1e-9) if num_gpus else 1 for node in hosts]
        count = self.count or min(n_jobs, sum(each)) or 1
        share = [n if num_gpus else -(-count // len(hosts)) for n in each]
        cores = min(node.get("CPU", 0.0) // max(1, min(n, count)) for node, n in zip(hosts, share, strict=True))
        num_cpus = max(1, int(cores)) if self.num_cpus is None else self.num_cpus
        room = sum(_fitting(node, num_cpus, num_gpus) for node in nodes)
        options = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        if room < count:
            there = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            raise ConfigError(
                f"actors: expected room for {count} with {_said(options)} each, found a cluster of {there}, which "
                f"holds {room}; set actors, actor_cpus or actor_gpus lower"
            )
        return min(count, n_jobs), options


def _fitting(node: dict[str, float], num_cpus: float, num_gpus: float) -> int:
    by_cpu = node.get("CPU", 0.0) // num_cpus
    return int(min(by_cpu, node.get("GPU", 0.0) / num_gpus + 1e-9) if num_gpus else by_cpu)


def _said(options: dict[str, Any]) -> str:
    return f"{options['num_cpus']:g} CPUs and {options['num_gpus']:g} GPUs"


class _Actor:
    """The process of a worker. Each call gives what was logged meanwhile, and results."""

    def __init__(self, num_threads: int) -> None:
        os.environ.update(dict.fromkeys(ONE_THREAD, str(num_threads)))
        self._said = _Said()
        logging.getLogger("fran").addHandler(self._said)
        logging.getLogger("fran").setLevel(logging.INFO)

    def load(self, made: bytes) -> Any:
        self._worker = pickle.loads(made)()  # noqa: S301  (from the process that started it)
        self._said.taken()  # every worker would say the same, and who called has said it
        return [], []

    def work(self, job: Any, following: Any) -> Any:
        results = self._worker.work(job, following)
        return self._said.taken(), results

    def finish(self) -> Any:
        results = self._worker.finish()
        return self._said.taken(), results


class _Said(logging.Handler):
    """Keeps log records as (logger, level, text), for the process that sees to the user."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.name, record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[str, int, str]]:
        taken, self._records = self._records, []
        return taken


@dataclass(eq=False)
class _Seat:
    """A worker's place.

    Attributes:
        actor: handle of the one that sits there.
        doing: number of the job that it was given last.
        open: numbers of those whose results have not come.
        next: number of the job that it prepares.
        loaded: whether it has begun to work.
    """

    actor: Any
    doing: int | None = None
    open: set[int] = field(default_factory=set)
    next: int | None = None
    loaded: bool = False


class _Crew:
    """Workers and the jobs that are left."""

    def __init__(self, ray: Any, options: dict[str, Any], made: Any, jobs: Sequence[Any]) -> None:
        self._ray, self._made, self._jobs, self._left = ray, made, jobs, deque(range(len(jobs)))
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **options)(_Actor)
        self._threads = max(1, int(options["num_cpus"]))
        self._running: dict[Any, _Seat] = {}

    def run(self, count: int) -> Iterator[tuple[int, Any | Failure]]:
        try:
            for _ in range(count):
                self._start()
            while self._running:
                seat, results = self._first()
                for index, result in results:
                    seat.open.discard(index)
                    yield index, result
                self._go_on(seat)
            text = "no worker is left: each was killed while it loaded its networks; most often memory ran out"
            yield from ((index, Failure(WORKER_DIED, text, "")) for index in self._left)
        finally:
            for seat in self._running.values():
                self._ray.kill(seat.actor)

    def _start(self) -> None:
        seat = _Seat(self._class.remote(self._threads))
        self._running[seat.actor.load.remote(self._made)] = seat

    def _first(self) -> tuple[_Seat, list[tuple[int, Any]]]:
        """The first worker that answers, or dies, and its results."""
        while True:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_PATIENCE_S)
            if done:
                break
            if not any(seat.loaded for seat in self._running.values()):
                log.warning("no worker has started yet; the cluster may be busy (see `ray status`)")
        seat = self._running.pop(done[0])
        try:
            said, results = self._ray.get(done[0])
            for name, level, text in said:
                logging.getLogger(name).log(level, "%s", text)
            return seat, results
        except self._ray.exceptions.RayTaskError as error:
            self._ray.kill(seat.actor)
            cause = error.cause
            raise (cause if isinstance(cause, FranError) else error) from None
        except self._ray.exceptions.RayError as error:
            return seat, self._buried(seat, error)

    def _buried(self, seat: _Seat, error: Exception) -> list[tuple[int, Any]]:
        """What becomes of a dead worker's jobs: the one that it did fails, the others go back."""
        killer, seat.actor = seat.doing, None
        back = seat.open - {killer} | ({seat.next} if seat.next is not None else set())
        self._left.extendleft(sorted(back, reverse=True))
        seat.open.clear()
        if killer is None:
            return []
        text = f"its worker was killed, or its machine was lost ({type(error).__name__}); most often memory ran out"
        return [(killer, Failure(WORKER_DIED, text, str(error)))]

    def _go_on(self, seat: _Seat) -> None:
        """Give a worker its next job; a dead one that had begun to work gets a successor."""
        if seat.actor is None:
            if seat.loaded and self._left:
                self._start()
            return
        seat.loaded = True
        seat.doing, seat.next = seat.next, None
        if seat.doing is None and self._left:
            seat.doing = self._left.popleft()
        if seat.doing is None:
            if not seat.open:
                self._ray.kill(seat.actor)
                return
            self._running[seat.actor.finish.remote()] = seat
            return
        seat.open.add(seat.doing)
        # nobody prepares a job that an idle worker could do at once
        if len(self._left) > sum(other.doing is None for other in self._running.values()):
            seat.next = self._left.popleft()
        self._running[seat.actor.work.remote(self._numbered(seat.doing), self._numbered(seat.next))] = seat

    def _numbered(self, index: int | None) -> tuple[int, Any] | None:
        return None if index is None else (index, self._jobs[index])
