"""What every backend shares: the shape of a backend, and what becomes of a job that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Environment variables that libraries read for their number of threads; workers share the machine, so each has one."""

WORKER_DIED = "WorkerDied"


@dataclass(frozen=True)
class Failure:
    """A job that did not come to its end.

    Attributes:
        kind: name of the exception's class, or `WORKER_DIED`.
        message: the exception's text.
        trace: the traceback as text.
    """

    kind: str
    message: str
    trace: str


class Execute(Protocol):
    """A backend: maps a function over jobs, and lets no job's failure touch another."""

    def __call__(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int
    ) -> Iterator[tuple[int, Result | Failure]]:
        """Yield the index of each job with its result, or with the reason why there is none, as they come."""


def attempt(function: Callable[[Job], Result], job: Job) -> Result | Failure:
    """The result of `function`, or its exception as a `Failure`."""
    try:
        return function(job)
    except Exception as error:  # noqa: BLE001  (one bad job must not end the others; the whole traceback is kept)
        return Failure(type(error).__name__, str(error), traceback.format_exc())
