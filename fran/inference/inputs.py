"""The images that a prediction is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fran.errors import ConfigError, DataError
from fran.io.volume import EXTENSIONS, stem

Inputs = Path | str | Sequence[Path | str]


def find_images(inputs: Inputs) -> list[Path]:
    """Image files of a file, a folder, a list in a text file (.txt, a path a line), or a list of these.

    Those of a folder are sorted.

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


def extension_of(image: Path, extension: str | None) -> str:
    """Ending of an image's label map: the wanted one, or the image's own.

    Raises:
        ConfigError: not one of `EXTENSIONS`.
    """
    if extension is None:
        return image.name[len(stem(image)) :].lower() or EXTENSIONS[0]
    if extension not in EXTENSIONS:
        raise ConfigError(f"extension: expected one of {', '.join(EXTENSIONS)}, found '{extension}'")
    return extension


def _images_of(path: Path) -> list[Path]:
    if path.suffix.lower() == ".txt" and path.is_file():
        return _listed(path)
    if not path.is_dir():
        return [path]
    folder = path / "images" if (path / "images").is_dir() else path
    images = sorted(p for p in folder.iterdir() if p.name.lower().endswith(EXTENSIONS) and not p.name.startswith("."))
    if not images:
        raise DataError(f"input: expected images ({', '.join(EXTENSIONS)}) in {folder}, found none")
    return images


def _listed(path: Path) -> list[Path]:
    """Paths of a list, relative ones from its own folder; blank lines and those that start with # do not count."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    images = [path.parent / line for line in lines if line and not line.startswith("#")]
    if not images:
        raise DataError(f"input: expected a path in each line of {path}, found none")
    return images
