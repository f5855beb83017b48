"""Write a bundle: everything is made and checked in a temporary folder, then takes its place at once."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.bundle.formats import Checked, write_onnx, write_torchscript
from fran.bundle.members import write_members
from fran.bundle.monai_files import inference, metadata
from fran.bundle.page import page
from fran.bundle.scoring import Scoring, scoring_of
from fran.errors import ConfigError
from fran.io.checkpoint import ModelFile
from fran.io.files import atomic_path, write_json

_WRITERS = {"torchscript": (write_torchscript, "model.ts"), "onnx": (write_onnx, "model.onnx")}
#: Raw values of the patches by which files are checked, for images that come normalised.
NORMALISED = (-3.0, 3.0)


OnPart = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Bundle:
    """What was written, and how near each format came."""

    path: Path
    checks: tuple[Checked, ...]


def write_bundle(
    models: Sequence[ModelFile],
    output: Path,
    formats: Sequence[str] = ("torchscript",),
    trusted: Sequence[str] = (),
    on_part: OnPart | None = None,
) -> Bundle:
    """Export a model, or an ensemble.

    Args:
        models: that predict together.
        output: a folder that does not exist, or a file that ends in .zip.
        formats: of torchscript and onnx, besides the weights.
        trusted: modules of the user's own that networks may come from.
        on_part: called with (parts done, parts in all, what is written now): the weights, each format, the rest.

    Raises:
        ConfigError: `output` is there already, the models cannot be one bundle, or a format's library is missing.
        FranError: a network cannot be exported, or the file computes something else than the network.
    """
    if output.exists():
        raise ConfigError(f"output: expected a new folder or zip, found {output}; remove it, or name another")
    parts = ["weights", *formats, output.name]

    def begin(part: str) -> None:
        if on_part is not None:
            on_part(parts.index(part), len(parts), part)

    begin("weights")
    scoring, reference = scoring_of(models, trusted), scoring_of(models, trusted, plain=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=output.parent) as temporary:
        folder = Path(temporary) / output.stem
        checks = _fill(folder, models, (scoring, reference), formats, output.name, begin)
        begin(output.name)
        if output.suffix.lower() == ".zip":
            _zip(folder, output)
        else:
            shutil.move(folder, output)
    if on_part is not None:
        on_part(len(parts), len(parts), "")
    return Bundle(output, checks)


def _fill(
    folder: Path,
    models: Sequence[ModelFile],
    scorings: tuple[Scoring, Scoring],
    formats: Sequence[str],
    name: str,
    begin: Callable[[str], None],
) -> tuple[Checked, ...]:
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    members = write_members(models, folder)
    scoring, reference = scorings
    x, y, z = (int(n) for n in models[0].meta["patch_size"])
    checks = []
    for wanted in formats:
        begin(wanted)
        writer, file = _WRITERS[wanted]
        checks.append(writer(scoring, (x, y, z), folder / "models" / file, _limits(scoring), reference))
    content = metadata(models, members, checks)
    write_json(folder / "configs" / "metadata.json", content)
    if "torchscript" in formats:
        write_json(folder / "configs" / "inference.json", inference(models))
    (folder / "docs" / "README.md").write_text(page(content, name), encoding="utf-8")
    return tuple(checks)


def _limits(scoring: Scoring) -> tuple[float, float]:
    """Raw values a little beyond the windows, so that clipping is tried too."""
    if scoring.windows is None:
        return NORMALISED
    low, high = min(w[0] for w in scoring.windows), max(w[1] for w in scoring.windows)
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def _zip(folder: Path, output: Path) -> None:
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder.parent).as_posix())
