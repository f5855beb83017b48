"""Label maps of another origin, found for each case in a folder, with digests that are read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fran.errors import ConfigError, StoreError
from fran.io.files import file_digest, read_json, write_json
from fran.io.volume import EXTENSIONS, stem
from fran.labels import LabelScheme

DIGESTS_NAME = "guides.json"


def guide_files(folder: Path) -> dict[str, Path]:
    """Label maps of a folder (or of its ``lms/``) by their name without ending.

    Raises:
        ConfigError: there is no such folder, or no label map in it.
    """
    place = folder / "lms" if (folder / "lms").is_dir() else folder
    if not place.is_dir():
        raise ConfigError(f"label maps: expected a folder of label maps, found none at {folder}")
    found = {stem(p): p for p in sorted(place.iterdir()) if p.name.lower().endswith(EXTENSIONS)}
    if not found:
        raise ConfigError(f"label maps: expected files ending in {', '.join(EXTENSIONS)} in {place}, found none")
    return found


def guide_of(files: dict[str, Path], folder: Path, case_id: str, image: Path) -> Path:
    """The label map named as the case or as its image; where there is none, the path at which it was expected."""
    for name in (stem(image), case_id):
        if name in files:
            return files[name]
    return folder / f"{stem(image)}{EXTENSIONS[0]}"


def region_values(regions: Sequence[str], names: dict[int, str], where: Path) -> tuple[int, ...]:
    """Label values of regions that are given by name or by value.

    Raises:
        ConfigError: a region that the label maps do not name.
    """
    by_name = {name: value for value, name in names.items()}
    unknown = [r for r in regions if r not in by_name and not str(r).isdigit()]
    if unknown:
        known = ", ".join(f"{value}: {name}" for value, name in sorted(names.items())) or "none"
        raise ConfigError(
            f"localiser_regions: expected names or values of labels, found {', '.join(unknown)}; the label maps in"
            f" {where} name {known}"
        )
    return tuple(by_name[r] if r in by_name else int(r) for r in regions)


def predicted_names(folder: Path) -> dict[int, str]:
    """Label names that `fran infer` wrote beside the first of its label maps; none for other folders."""
    for record in sorted(folder.glob("*.json")):
        try:
            stored = read_json(record)
            return dict(LabelScheme.from_dict(stored["labels"]).names)
        except (StoreError, KeyError, TypeError, AttributeError):
            continue
    return {}


@dataclass
class Digests:
    """Digests of files by path, kept beside a stage's manifest so that a rerun does not read what has not changed.

    Attributes:
        path: JSON file.
        known: path → [size, modification time in ns, digest].
    """

    path: Path
    known: dict[str, list[Any]] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, folder: Path) -> Digests:
        """Those of a stage's folder; none where the file is missing or damaged."""
        path = folder / DIGESTS_NAME
        try:
            stored = read_json(path)
        except StoreError:
            stored = {}
        return cls(path, stored if isinstance(stored, dict) else {})

    def of(self, path: Path) -> str | None:
        """Digest of a file; None where it cannot be read, which its case will report."""
        try:
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            entry = self.known.get(str(path))
            if entry is None or entry[:2] != stamp:
                entry = self.known[str(path)] = [*stamp, file_digest(path)]
                self.changed = True
        except OSError:
            return None
        return str(entry[2])

    def save(self) -> None:
        """Write what was added."""
        if self.changed:
            write_json(self.path, self.known)
            self.changed = False
