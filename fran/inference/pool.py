"""Segmenters on the GPUs and machines of a Ray cluster, each of which keeps its networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.errors import CaseProblem
from fran.inference.case import Segmenter
from fran.inference.inputs import Image
from fran.inference.line import Job, Line, Outcome, Wishes
from fran.parallel.actors import Actors
from fran.parallel.jobs import Failure


@dataclass(frozen=True)
class Pool:
    """Workers that predict as `fran.inference.line.Line` does; images and label maps lie where all of them see them.

    Attributes:
        make: makes a segmenter; called once in each worker.
        modality: of its models.
        actors: how many workers, and what each may take.
    """

    make: Callable[[], Segmenter]
    modality: str
    actors: Actors

    def predict(self, jobs: Sequence[Job], wishes: Wishes) -> Iterator[tuple[Image, Outcome]]:
        """Outcomes as they come; a case whose worker is killed is a problem of its own.

        Raises:
            ConfigError: no cluster, or no room for the workers.
        """
        for index, found in self.actors.run(_Make(self.make, wishes, Path.cwd()), jobs):
            image = jobs[index].image
            yield image, _killed(image, found) if isinstance(found, Failure) else found


@dataclass(frozen=True)
class _Make:
    """Makes the worker in its process, in the folder that relative paths are meant from."""

    segmenter: Callable[[], Segmenter]
    wishes: Wishes
    folder: Path

    def __call__(self) -> _Worker:
        if self.folder.is_dir():
            os.chdir(self.folder)
        return _Worker(Line(self.segmenter(), self.wishes))


class _Worker:
    """A line of cases as a worker."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._indices: dict[Image, int] = {}

    def work(self, job: tuple[int, Job], following: tuple[int, Job] | None) -> list[tuple[int, Outcome]]:
        """Predict a case, read the following meanwhile."""
        index, case = job
        self._indices[case.image] = index
        self._line.predict(case, None if following is None else following[1], None)
        return self._taken()

    def finish(self) -> list[tuple[int, Outcome]]:
        """Wait for the last label map."""
        self._line.finish()
        return self._taken()

    def _taken(self) -> list[tuple[int, Outcome]]:
        return [(self._indices[image], outcome) for image, outcome in self._line.take()]


def _killed(image: Image, failure: Failure) -> CaseProblem:
    return CaseProblem(
        case_id=image.name,
        path=str(image.path),
        what="not predicted",
        expected="a case that fits the worker's machine",
        found=failure.message,
        next_step="give ram= or vram= what each worker may take, or fewer actors; the same command does what is left",
    )
