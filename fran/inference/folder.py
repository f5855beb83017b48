"""Predict a folder of images: finished cases are skipped, a bad case does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fran.errors import CaseProblem, CasesFailed, ConfigError
from fran.inference.case import Segmenter
from fran.inference.inputs import Image, Inputs, find_images
from fran.inference.line import CaseResult, Job, Line, Outcome, Wishes
from fran.inference.outputs import DICOMSEG, check_format, ending_of
from fran.inference.pool import Pool
from fran.parallel.progress import Update
from fran.parallel.progress import progress as on_stderr


@dataclass(frozen=True)
class FolderReport:
    """What `predict_folder` did, in the order of the inputs; `problems` are the cases that failed."""

    output: Path
    cases: tuple[CaseResult, ...]
    problems: tuple[CaseProblem, ...] = ()

    @property
    def n_predicted(self) -> int:
        """Cases predicted now."""
        return sum(case.status == "predicted" for case in self.cases)

    @property
    def n_skipped(self) -> int:
        """Cases that were finished already."""
        return len(self.cases) - self.n_predicted

    @property
    def seconds_per_case(self) -> float:
        """Mean over the cases predicted now, NaN when there were none."""
        seconds = [case.seconds for case in self.cases if case.status == "predicted"]
        return sum(seconds) / len(seconds) if seconds else float("nan")

    def raise_for_errors(self) -> None:
        """Raise `CasesFailed` with every case that failed, where there is one. The others are done."""
        if self.problems:
            n = len(self.problems)
            done = f"{self.n_predicted} predicted, {self.n_skipped} finished before"
            raise CasesFailed(f"{n} of {n + len(self.cases)} cases failed ({done})", self.problems)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "output": self.output,
            "predicted": self.n_predicted,
            "skipped": self.n_skipped,
            "failed": len(self.problems),
            "seconds_per_case": self.seconds_per_case,
            "cases": [asdict(case) for case in self.cases],
            "problems": [asdict(problem) for problem in self.problems],
        }


def predict_folder(
    predictor: Segmenter | Pool,
    inputs: Inputs,
    output: Path | str,
    overwrite: bool = False,
    progress: bool = True,
    output_format: str | None = None,
    ram: int | None = None,
    save_probabilities: bool = False,
    series: str | None = None,
    scratch: Path | str | None = None,
    strict: bool = True,
) -> FolderReport:
    """Write the label map of every image, and beside it ``<stem>.json``, which says how it was made.

    A case is finished when its label map and its json are there and the json names the same image, models and
    settings; it is skipped. A label map that something else made is left alone and reported. `overwrite` does both
    kinds again.

    Args:
        predictor: the models, here or on a Ray cluster.
        inputs: an image, a folder of images (flat, or with them in images/), a DICOM series in a folder or zip, a
            folder of these, a .txt of paths, or a list of all that.
        output: folder for the label maps; made if missing.
        overwrite: predict finished cases again and replace what is in the way.
        progress: show it on standard error: a bar on a terminal, else a line now and then.
        output_format: one of `fran.inference.outputs.FORMATS`; None is that of each image, NIfTI for DICOM.
        ram: bytes that the process may take in all: an image is not read ahead where it would not fit.
        save_probabilities: write those of the classes too, as ``<stem>_probabilities.h5``.
        series: series instance UID, where a DICOM folder holds several; None chooses, see `choose_series`.
        scratch: folder in which zips are unpacked for the time of reading.
        strict: raise for cases that failed; otherwise the report has them.

    Raises:
        ConfigError: impossible output or format.
        DataError: no images.
        CasesFailed: after all others are done, if any case failed and `strict`.
    """
    output = Path(output)
    images = find_images(inputs, series, predictor.modality, scratch)
    check_format(output_format, images)
    jobs = [Job(i, output / f"{i.name}{ending_of(i, output_format)}") for i in images]
    for job in jobs:
        if job.image.path.resolve() in (job.target.resolve(), *job.target.resolve().parents):
            raise ConfigError(f"output: {output} holds the image {job.image.path.name} itself; choose another folder")
    wishes = Wishes(overwrite, save_probabilities, ram, output_format == DICOMSEG)
    shown: AbstractContextManager[Update | None] = on_stderr("predict") if progress else nullcontext()
    with shown as update:

        def on_way(done: float, name: str) -> None:
            if update is not None:
                update(done, len(jobs), name)

        each = (
            predictor.predict(jobs, wishes) if isinstance(predictor, Pool) else _here(predictor, jobs, wishes, on_way)
        )
        found: dict[Image, Outcome] = {}
        for image, outcome in each:
            found[image] = outcome
            on_way(len(found), "")
    outcomes = [found[job.image] for job in jobs]
    done = tuple(o for o in outcomes if isinstance(o, CaseResult))
    report = FolderReport(output, done, tuple(o for o in outcomes if isinstance(o, CaseProblem)))
    if strict:
        report.raise_for_errors()
    return report


def _here(
    predictor: Segmenter, jobs: Sequence[Job], wishes: Wishes, on_way: Callable[[float, str], None]
) -> Iterator[tuple[Image, Outcome]]:
    """Outcomes as they come, in this process."""
    with Line(predictor, wishes) as line:
        for number, job in enumerate(jobs):
            on_way(number, job.image.name)

            def tiles(done: int, in_all: int, number: int = number, name: str = job.image.name) -> None:
                on_way(number + done / (in_all + 1), name)  # the label map is still to be written

            line.predict(job, jobs[number + 1] if number + 1 < len(jobs) else None, tiles)
            yield from line.take()
        line.finish()
        yield from line.take()
