"""One case after the other through a segmenter: read, predicted and written side by side.

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

from fran.errors import CaseProblem, ConfigError, DataError, FranError, StoreError
from fran.geometry import Grid
from fran.inference.case import OnBatch, Prediction, Segmenter
from fran.inference.inputs import Image
from fran.inference.memory import room_for
from fran.inference.outputs import write_output
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


Outcome = CaseResult | CaseProblem


@dataclass(frozen=True)
class Job:
    """An image, and where its label map goes."""

    image: Image
    target: Path

    @property
    def record(self) -> Path:
        """What says how the label map was made."""
        return self.target.with_name(f"{self.image.name}.json")

    @property
    def probabilities(self) -> Path:
        """Those of the classes."""
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


@dataclass(frozen=True)
class Wishes:
    """What is asked for beside the label maps; see `fran.inference.folder.predict_folder`."""

    overwrite: bool
    probabilities: bool
    ram: int | None
    headers: bool


class Line:
    """Reader, network and writer side by side, one case each; a context manager that waits for all three."""

    def __init__(self, predictor: Segmenter, wishes: Wishes) -> None:
        self._outcomes: dict[Image, Outcome] = {}
        self._predictor, self._wishes = predictor, wishes
        self._reader, self._writer = ThreadPoolExecutor(1, "fran-read"), ThreadPoolExecutor(1, "fran-write")
        self._ahead: tuple[Job, Future[_Read]] | None = None
        self._writing: tuple[Job, Future[CaseResult]] | None = None

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True)

    def predict(self, case: Job, following: Job | None, on_batch: OnBatch | None) -> None:
        """One case; the following one is read meanwhile if there is room for it."""
        try:
            read = self._read(case)
            self._read_ahead(following)
            if read.finished is not None:
                self._outcomes[case.image] = read.finished
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
            self._outcomes[case.image] = _problem(case.image, error)

    def _run(self, case: Job, prepared: Any, on_batch: OnBatch | None) -> Prediction:
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
            self._outcomes[case.image] = job.result()
        except _ABOUT_MODELS:
            raise
        except _ABOUT_CASE as error:
            self._outcomes[case.image] = _problem(case.image, error)

    def take(self) -> list[tuple[Image, Outcome]]:
        """Outcomes that are known by now, each once."""
        taken, self._outcomes = list(self._outcomes.items()), {}
        return taken

    def _read(self, case: Job) -> _Read:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == case:
            return ahead[1].result()
        return _read(self._predictor, case, self._wishes)

    def _read_ahead(self, following: Job | None) -> None:
        if following is not None and _fits(following.image, self._wishes.ram):
            job = self._reader.submit(_read, self._predictor, following, self._wishes)
            self._ahead = (following, job)


def _fits(image: Image, ram: int | None) -> bool:
    """Whether an image may be read beside the one that is being predicted."""
    try:
        return room_for((image.voxels(),), ram)
    except (FranError, OSError):
        return False  # its own turn will say what is wrong with it


def _read(predictor: Segmenter, case: Job, wishes: Wishes) -> _Read:
    started = perf_counter()
    if not wishes.overwrite and case.target.exists():
        finished = _finished(predictor, case)
        if case.probabilities.exists() or not wishes.probabilities:
            return _Read(None, None, 0.0, finished)
    loaded = case.image.read(wishes.headers)
    prepared = predictor.prepare(loaded.volume)
    source = _Source(loaded.volume.native, loaded.origin, loaded.headers)
    return _Read(prepared, source, perf_counter() - started)


def _write(predictor: Segmenter, case: Job, prediction: Prediction, source: _Source, seconds: float) -> CaseResult:
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


def _finished(predictor: Segmenter, case: Job) -> CaseResult:
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
