"""Predict a folder of images: finished cases are skipped, a bad case does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import fran
from fran.errors import CaseProblem, CasesFailed, ConfigError, DataError, FranError, StoreError
from fran.inference.predictor import Predictor
from fran.io.files import file_digest, read_json, write_json
from fran.io.volume import EXTENSIONS, Volume, read_volume, stem, write_label_map

log = logging.getLogger(__name__)

Inputs = Path | str | Sequence[Path | str]


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


def predict_folder(
    predictor: Predictor,
    inputs: Inputs,
    output: Path | str,
    overwrite: bool = False,
    progress: bool = True,
    extension: str | None = None,
) -> FolderReport:
    """Write the label map of every image, and beside it ``<stem>.json``, which says how it was made.

    A case is finished when its label map and its json are there and the json names the same image, models and
    settings; it is skipped. A label map that something else made is left alone and reported. `overwrite` does both
    kinds again.

    Args:
        predictor: the models.
        inputs: an image, a folder of images (flat, or with them in images/), or a list of these.
        output: folder for the label maps; made if missing.
        overwrite: predict finished cases again and replace what is in the way.
        progress: show a bar on standard error.
        extension: one of `EXTENSIONS` for the label maps; null is that of each image.

    Raises:
        ConfigError: impossible output or extension.
        DataError: no images.
        CasesFailed: after all others are done, if any case failed.
    """
    output = Path(output)
    images = find_images(inputs)
    targets = {image: output / f"{stem(image)}{_extension(image, extension)}" for image in images}
    for image, target in targets.items():
        if target.resolve() == image.resolve():
            raise ConfigError(f"output: {output} holds the image {image.name} itself; choose another folder")
    results: list[CaseResult] = []
    problems: list[CaseProblem] = []
    with _bar(progress) as bar:
        task = bar.add_task("predict", total=len(images), case="")
        for image, target in targets.items():
            bar.update(task, case=stem(image))
            try:
                results.append(_predict_case(predictor, image, target, overwrite))
            except (ConfigError, StoreError):
                raise  # about the models, so every other case would fail the same way
            except (FranError, OSError, RuntimeError, ValueError, MemoryError) as error:
                problems.append(_problem(image, error))
            bar.advance(task)
    report = FolderReport(output, tuple(results))
    if problems:
        done = f"{report.n_predicted} predicted, {report.n_skipped} finished before"
        raise CasesFailed(f"{len(problems)} of {len(images)} cases failed ({done})", problems)
    return report


def find_images(inputs: Inputs) -> list[Path]:
    """Image files of a file, a folder, or a list of these, sorted within each folder.

    Raises:
        DataError: something is missing or holds no images, or two images would get the same name.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    found: dict[str, Path] = {}
    for entry in given:
        for image in _images_of(Path(entry)):
            other = found.setdefault(stem(image), image)
            if other.resolve() != image.resolve():
                raise DataError(
                    f"input: {other} and {image} would both be written as {stem(image)}; predict them apart"
                )
    if not found:
        raise DataError("input: expected images, found an empty list")
    return list(found.values())


def _images_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    folder = path / "images" if (path / "images").is_dir() else path
    images = sorted(p for p in folder.iterdir() if p.name.lower().endswith(EXTENSIONS) and not p.name.startswith("."))
    if not images:
        raise DataError(f"input: expected images ({', '.join(EXTENSIONS)}) in {folder}, found none")
    return images


def _extension(image: Path, extension: str | None) -> str:
    if extension is None:
        return image.name[len(stem(image)) :].lower() or EXTENSIONS[0]
    if extension not in EXTENSIONS:
        raise ConfigError(f"extension: expected one of {', '.join(EXTENSIONS)}, found '{extension}'")
    return extension


def _predict_case(predictor: Predictor, image: Path, target: Path, overwrite: bool) -> CaseResult:
    started = perf_counter()
    record = target.with_name(f"{stem(target)}.json")
    if not overwrite and target.exists():
        return _finished(predictor, image, target, record)
    volume = read_volume(image)
    prediction = predictor.predict(volume)
    seconds = {name: round(value, 3) for name, value in prediction.seconds.items()}
    seconds["all"] = round(perf_counter() - started, 3)
    # the json comes before the label map, and an old label map goes before either: whenever the process is killed,
    # no label map is left beside a json that is not its own
    target.unlink(missing_ok=True)
    write_json(record, _provenance(predictor, volume, seconds))
    write_label_map(target, prediction.array, volume.native, predictor.labels.names)
    took = perf_counter() - started
    log.info("%s: %.1f s (network %.1f s)", stem(image), took, seconds["network"])
    return CaseResult(stem(image), image, target, "predicted", took)


def _finished(predictor: Predictor, image: Path, target: Path, record: Path) -> CaseResult:
    """Result of a case whose label map exists, after checking that it is the one that would be made."""
    stored = _read_record(record)
    if stored is None:
        raise DataError(
            f"{target}: expected no file, or a label map with {record.name} beside it, found a label map of unknown "
            "origin; give another output, or overwrite=true"
        )
    wanted = {**predictor.describe(), "image": file_digest(image)}
    found = {**{key: stored.get(key) for key in predictor.describe()}, "image": stored.get("input", {}).get("digest")}
    different = [key for key, value in wanted.items() if found[key] != value]
    if different:
        raise DataError(
            f"{target}: expected a label map of the same image and models, found one with other {', '.join(different)} "
            f"(see {record.name}); give another output, or overwrite=true"
        )
    seconds = float(stored.get("seconds", {}).get("all", "nan"))
    return CaseResult(stem(image), image, target, "skipped", seconds)


def _read_record(record: Path) -> dict[str, Any] | None:
    try:
        stored = read_json(record)
    except StoreError:
        return None
    return stored if isinstance(stored, dict) else None


def _provenance(predictor: Predictor, volume: Volume, seconds: dict[str, float]) -> dict[str, Any]:
    return {
        **predictor.describe(),
        "input": {"path": str(volume.path.resolve()), "digest": file_digest(volume.path)},
        "grid": volume.native.to_dict(),
        "checkpoints": [str(model.path.resolve()) for model in predictor.models],
        "device": str(predictor.device),
        "fran": fran.__version__,
        "seconds": seconds,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _problem(image: Path, error: BaseException) -> CaseProblem:
    known = isinstance(error, FranError)
    if not known:
        log.error("%s failed", image, exc_info=error)
    memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return CaseProblem(
        case_id=stem(image),
        path=str(image),
        what="not predicted",
        expected="a readable 3-D image, and a free place for its label map"
        if known
        else "a case that fits this machine",
        found=str(error) if known else f"{type(error).__name__}: {error}",
        next_step="lower tile_batch, or use device=cpu" if memory else "see above; the same command does what is left",
    )


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    more = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[case]}"))
    return Progress(*columns, *more, console=Console(stderr=True), disable=not shown)
