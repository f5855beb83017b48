"""Predict a folder of images: finished cases are skipped, a bad case does not stop the others.

The next image is read and prepared while the network works on this one, and a label map is written while the next one
is predicted.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fran.errors import CaseProblem, CasesFailed, ConfigError, DataError, FranError, StoreError
from fran.geometry import Grid
from fran.inference.case import Prediction, Segmenter
from fran.inference.inputs import Image, Inputs, find_images
from fran.inference.memory import room_for
from fran.inference.outputs import check_format, ending_of, write_output
from fran.inference.probabilities import SUFFIX
from fran.inference.provenance import differences, provenance, read_record
from fran.io.files import atomic_path, write_json

log = logging.getLogger(__name__)

_ABOUT_MODELS = (ConfigError, StoreError)  # every other case would fail the same way
_ABOUT_CASE = (FranError, OSError, RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True)
class CaseResult:
    """One case: its label map, and the seconds it took (those of the run that made it, if it was skipped)."""

    case_id: str
    image: Path
    label_map: Path
    status: Literal["predicted", "skipped"]
    seconds: float


@dataclass(frozen=True)
class FolderReport:
    """What `predict_folder` did, in the order of the inputs."""

    output: Path
    cases: tuple[CaseResult, ...]

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


@dataclass(frozen=True)
class _Case:
    """An image, and where its label map goes."""

    image: Image
    target: Path

    @property
    def record(self) -> Path:
        return self.target.with_name(f"{self.image.name}.json")

    @property
    def probabilities(self) -> Path:
        return self.target.with_name(f"{self.image.name}{SUFFIX}")


@dataclass(frozen=True, eq=False)
class _Read:
    """A case that was read: ready for the network, or finished before."""

    prepared: Any
    source: _Source | None
    seconds: float
    finished: CaseResult | None = None


@dataclass(frozen=True, eq=False)
class _Source:
    """What is left of a raw image when its voxels are forgotten; see `Loaded`."""

    native: Grid
    origin: dict[str, Any]
    headers: tuple[Any, ...]


def predict_folder(
    predictor: Segmenter,
    inputs: Inputs,
    output: Path | str,
    overwrite: bool = False,
    progress: bool = True,
    output_format: str | None = None,
    ram: int | None = None,
    save_probabilities: bool = False,
    series: str | None = None,
    scratch: Path | str | None = None,
) -> FolderReport:
    """Write the label map of every image, and beside it ``<stem>.json``, which says how it was made.

    A case is finished when its label map and its json are there and the json names the same image, models and
    settings; it is skipped. A label map that something else made is left alone and reported. `overwrite` does both
    kinds again.

    Args:
        predictor: the models.
        inputs: an image, a folder of images (flat, or with them in images/), a DICOM series in a folder or zip, a
            folder of these, a .txt of paths, or a list of all that.
        output: folder for the label maps; made if missing.
        overwrite: predict finished cases again and replace what is in the way.
        progress: show a bar on standard error.
        output_format: one of `fran.inference.outputs.FORMATS`; None is that of each image, NIfTI for DICOM.
        ram: bytes that the process may take in all: an image is not read ahead where it would not fit.
        save_probabilities: write those of the classes too, as ``<stem>_probabilities.h5``.
        series: series instance UID, where a DICOM folder holds several; None chooses, see `choose_series`.
        scratch: folder in which zips are unpacked for the time of reading.

    Raises:
        ConfigError: impossible output or format.
        DataError: no images.
        CasesFailed: after all others are done, if any case failed.
    """
    output = Path(output)
    images = find_images(inputs, series, predictor.modality, scratch)
    check_format(output_format, images)
    cases = [_Case(i, output / f"{i.name}{ending_of(i, output_format)}") for i in images]
    for case in cases:
        if case.image.path.resolve() in (case.target.resolve(), *case.target.resolve().parents):
            raise ConfigError(f"output: {output} holds the image {case.image.path.name} itself; choose another folder")
    wishes = _Wishes(overwrite, save_probabilities, ram, output_format == "dicomseg")
    with _Line(predictor, wishes) as line, _bar(progress) as bar:
        task = bar.add_task("predict", total=len(cases), case="", count=f"0/{len(cases)}")
        for number, case in enumerate(cases):
            bar.update(task, completed=number, case=case.image.name, count=f"{number}/{len(cases)}")
            following = cases[number + 1] if number + 1 < len(cases) else None

            def tiles(done: int, in_all: int, number: int = number) -> None:
                bar.update(task, completed=number + done / in_all)

            line.predict(case, following, tiles)
        line.finish()
        bar.update(task, completed=len(cases), count=f"{len(cases)}/{len(cases)}")
    results = [line.results[case.image] for case in cases if case.image in line.results]
    report = FolderReport(output, tuple(results))
    problems = [line.problems[case.image] for case in cases if case.image in line.problems]
    if problems:
        done = f"{report.n_predicted} predicted, {report.n_skipped} finished before"
        raise CasesFailed(f"{len(problems)} of {len(cases)} cases failed ({done})", problems)
    return report


@dataclass(frozen=True)
class _Wishes:
    """What is asked for beside the label maps; see `predict_folder`."""

    overwrite: bool
    probabilities: bool
    ram: int | None
    headers: bool


class _Line:
    """Reader, network and writer side by side, one case each."""

    def __init__(self, predictor: Segmenter, wishes: _Wishes) -> None:
        self.results: dict[Image, CaseResult] = {}
        self.problems: dict[Image, CaseProblem] = {}
        self._predictor, self._wishes = predictor, wishes
        self._reader, self._writer = ThreadPoolExecutor(1, "fran-read"), ThreadPoolExecutor(1, "fran-write")
        self._ahead: tuple[_Case, Future[_Read]] | None = None
        self._writing: tuple[_Case, Future[CaseResult]] | None = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True)

    def predict(self, case: _Case, following: _Case | None, on_batch: Any) -> None:
        """One case; the following one is read meanwhile if there is room for it."""
        try:
            read = self._read(case)
            self._read_ahead(following)
            if read.finished is not None:
                self.results[case.image] = read.finished
                return
            started = perf_counter()
            prediction = self._run(case, read.prepared, on_batch)
            seconds = read.seconds + perf_counter() - started
            self.finish()
            assert read.source is not None
            job = self._writer.submit(_write, self._predictor, case, prediction, read.source, seconds)
            self._writing = (case, job)
        except _ABOUT_MODELS:
            raise
        except _ABOUT_CASE as error:
            self.problems[case.image] = _problem(case.image, error)

    def _run(self, case: _Case, prepared: Any, on_batch: Any) -> Prediction:
        if not self._wishes.probabilities:
            return self._predictor.run(prepared, on_batch)
        with atomic_path(case.probabilities) as temporary:
            return self._predictor.run(prepared, on_batch, temporary)

    def finish(self) -> None:
        """Wait for the label map that is being written."""
        if self._writing is None:
            return
        (case, job), self._writing = self._writing, None
        try:
            self.results[case.image] = job.result()
        except _ABOUT_MODELS:
            raise
        except _ABOUT_CASE as error:
            self.problems[case.image] = _problem(case.image, error)

    def _read(self, case: _Case) -> _Read:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is case:
            return ahead[1].result()
        return _read(self._predictor, case, self._wishes)

    def _read_ahead(self, following: _Case | None) -> None:
        if following is not None and _fits(following.image, self._wishes.ram):
            job = self._reader.submit(_read, self._predictor, following, self._wishes)
            self._ahead = (following, job)


def _fits(image: Image, ram: int | None) -> bool:
    """Whether an image may be read beside the one that is being predicted."""
    try:
        return room_for((image.voxels(),), ram)
    except (FranError, OSError):
        return False  # its own turn will say what is wrong with it


def _read(predictor: Segmenter, case: _Case, wishes: _Wishes) -> _Read:
    started = perf_counter()
    if not wishes.overwrite and case.target.exists():
        finished = _finished(predictor, case)
        if case.probabilities.exists() or not wishes.probabilities:
            return _Read(None, None, 0.0, finished)
    loaded = case.image.read(wishes.headers)
    prepared = predictor.prepare(loaded.volume)
    source = _Source(loaded.volume.native, loaded.origin, loaded.headers)
    return _Read(prepared, source, perf_counter() - started)


def _write(predictor: Segmenter, case: _Case, prediction: Prediction, source: _Source, seconds: float) -> CaseResult:
    started = perf_counter()
    took = {name: round(value, 3) for name, value in prediction.seconds.items()}
    took["all"] = round(seconds, 3)
    # the json comes before the label map, and an old label map goes before either: whenever the process is killed,
    # no label map is left beside a json that is not its own
    case.target.unlink(missing_ok=True)
    record = provenance(predictor, source.origin, source.native, prediction.facts, took)
    write_json(case.record, record)
    models = ", ".join(model["run"] for model in record["models"])
    write_output(case.target, prediction.array, source.native, predictor.labels.names, source.headers, models)
    seconds += perf_counter() - started
    log.info("%s: %.1f s (network %.1f s)", case.image.name, seconds, prediction.seconds["network"])
    return CaseResult(case.image.name, case.image.path, case.target, "predicted", seconds)


def _finished(predictor: Segmenter, case: _Case) -> CaseResult:
    """Result of a case whose label map exists, after checking that it is the one that would be made."""
    stored = read_record(case.record)
    if stored is None:
        raise DataError(
            f"{case.target}: expected no file, or a label map with {case.record.name} beside it, found a label map of "
            "unknown origin; give another output, or overwrite=true"
        )
    different = differences(predictor, case.image.digest(), stored)
    if different:
        raise DataError(
            f"{case.target}: expected a label map of the same image and models, found one with other "
            f"{', '.join(different)} (see {case.record.name}); give another output, or overwrite=true"
        )
    seconds = float(stored.get("seconds", {}).get("all", "nan"))
    return CaseResult(case.image.name, case.image.path, case.target, "skipped", seconds)


def _problem(image: Image, error: BaseException) -> CaseProblem:
    known = isinstance(error, FranError)
    if not known:
        log.error("%s failed", image.path, exc_info=error)
    memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return CaseProblem(
        case_id=image.name,
        path=str(image.path),
        what="not predicted",
        expected="a readable 3-D image, and a free place for its label map"
        if known
        else "a case that fits this machine",
        found=str(error) if known else f"{type(error).__name__}: {error}",
        next_step="give ram= or vram= what there is, or lower tile_batch"
        if memory
        else "see above; the same command does what is left",
    )


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    more = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[case]}"))
    return Progress(*columns, *more, console=Console(stderr=True), disable=not shown)
