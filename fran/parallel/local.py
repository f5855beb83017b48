"""Run a function over jobs in several local processes, where a process that dies is one failed job.

``concurrent.futures`` gives up on every job when the kernel kills one of its workers (which is what running out of
memory looks like) and does not say which job did it. Here each worker has its own pipe: its death fails the job that it
held, another worker takes its place, and the rest goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic

from fran.parallel.jobs import ONE_THREAD, WORKER_DIED, Failure, Job, Result, attempt

_STOP_SECONDS = 5


@dataclass
class _Worker(Generic[Job]):
    process: BaseProcess
    pipe: Connection
    index: int | None = None


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int
) -> Iterator[tuple[int, Result | Failure]]:
    """Results in the order in which they come.

    Args:
        function: importable by name, as are the jobs' classes: workers are started afresh ("spawn").
        jobs: one argument each.
        num_processes: 1 runs in this process.

    Yields:
        index of the job, and its result or the reason why there is none.
    """
    if num_processes <= 1 or len(jobs) <= 1:
        yield from ((i, attempt(function, job)) for i, job in enumerate(jobs))
        return
    waiting = iter(enumerate(jobs))
    workers: list[_Worker[Job]] = []
    try:
        for _ in range(min(num_processes, len(jobs))):
            workers.append(_start(function))  # noqa: PERF401  (appended one by one so that `finally` sees each)
        for worker in workers:
            _give(worker, waiting)
        while any(w.index is not None for w in workers):
            for worker in _ready(workers):
                yield from _collect(worker)
                if not worker.process.is_alive():
                    workers.remove(worker)
                    worker = _start(function)
                    workers.append(worker)
                _give(worker, waiting)
    finally:
        _stop(workers)


def _start(function: Callable[[Job], Result]) -> _Worker[Job]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(function, there), daemon=True)
    with _single_threaded(), _shielded(), _without_script(function):
        process.start()
    there.close()  # so that the worker's death closes the pipe
    return _Worker(process, here)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Thread limits that libraries read when they are imported, for the child that is started meanwhile."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_script(function: Callable[..., Any]) -> Iterator[None]:
    """No script for the child that is started meanwhile.

    A spawned process runs the script that its parent runs, to find functions in it. A researcher's script has seldom an
    ``if __name__ == "__main__"``, and would begin all its work anew in each worker. What fran maps lies in modules.
    """
    while isinstance(function, partial):
        function = function.func
    script = sys.modules["__main__"]
    if getattr(function, "__module__", None) == "__main__":
        yield
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _shielded() -> Iterator[None]:
    """No Ctrl-C for the child that is started meanwhile: its parent gets it too, and ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    """Body of a worker: until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # an orderly end: what the job has begun to write is taken away, semaphores are given back
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    while True:
        try:
            pipe.send(attempt(function, pipe.recv()))
        except (EOFError, ConnectionError):
            return


def _give(worker: _Worker[Job], waiting: Iterator[tuple[int, Job]]) -> None:
    worker.index = None
    for index, job in waiting:
        worker.index = index
        try:
            worker.pipe.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return  # the worker died while it was idle; _collect reports the job
        return


def _ready(workers: Sequence[_Worker[Job]]) -> list[_Worker[Job]]:
    busy = {w.pipe: w for w in workers if w.index is not None}
    return [busy[pipe] for pipe in wait(list(busy)) if isinstance(pipe, Connection)]


def _collect(worker: _Worker[Job]) -> Iterator[tuple[int, Any]]:
    assert worker.index is not None
    try:
        yield worker.index, worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(_STOP_SECONDS)
        yield worker.index, _death(worker.process)


def _death(process: BaseProcess) -> Failure:
    code = process.exitcode
    if code == -signal.SIGKILL:
        text = "the worker process was killed (SIGKILL), as the kernel does when memory runs out; use fewer processes"
    else:
        text = f"the worker process ended unexpectedly (exit status {code})"
    return Failure(WORKER_DIED, text, "")


def _stop(workers: Sequence[_Worker[Job]]) -> None:
    for worker in workers:
        worker.pipe.close()
        if worker.index is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_STOP_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
