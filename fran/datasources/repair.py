"""What the repairs of a datasource share: they write a new folder beside the old one, which stays as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fran.errors import ConfigError

LABELS_FILE = "labels.json"


@dataclass
class Repair:
    """What a repair did.

    Attributes:
        folder: the datasource that was written.
        changes: one line a change.
        left_out: one line a file that could not be repaired, and why.
        n_untouched: files taken over as links, or as copies where the file system has no links.
    """

    folder: Path
    changes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    n_untouched: int = 0

    def __str__(self) -> str:
        lines = [f"{self.folder}: {len(self.changes)} changed, {self.n_untouched} files taken over as they are"]
        lines += [f"  {change}" for change in self.changes]
        lines += [f"  left out: {reason}" for reason in self.left_out]
        return "\n".join(lines)


class NewFolder:
    """A datasource folder in the making; see `new_folder`."""

    def __init__(self, path: Path, source: Path, repair: Repair) -> None:
        self.path = path
        self.source = source
        self.repair = repair

    def take(self, path: Path, name: str | None = None) -> None:
        """Take a file over as it is, under another name where one is given."""
        _link_or_copy(path, self.target(path, name))
        if name is None or name == path.name:
            self.repair.n_untouched += 1
        else:
            self.repair.changes.append(f"{path.parent.name}/{path.name} -> {name}")

    def target(self, path: Path, name: str | None = None) -> Path:
        """Where a file goes: to the place in the new folder that it has in the old one."""
        if not path.is_relative_to(self.source):
            raise ConfigError(f"{path}: expected a file in {self.source}; repair the folder that it is in")
        place = self.path / path.parent.relative_to(self.source)
        place.mkdir(parents=True, exist_ok=True)
        return place / (name or path.name)


@contextmanager
def new_folder(source: Path, out: Path | None, suffix: str) -> Iterator[NewFolder]:
    """Make a datasource folder, which appears under its name when the block ends well, and not at all otherwise.

    Args:
        source: the datasource to repair.
        out: folder to write; ``<source>_<suffix>`` where None.
        suffix: of the default name.

    Raises:
        ConfigError: there is something of that name.
    """
    out = Path(f"{source}_{suffix}") if out is None else Path(out).expanduser().absolute()
    if out.exists() or out.is_symlink():
        raise ConfigError(f"out: expected a folder that is not there yet, found {out}; remove it or pass out=<another>")
    temporary = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    try:
        temporary.mkdir(parents=True)
        if (source / LABELS_FILE).is_file():
            shutil.copyfile(source / LABELS_FILE, temporary / LABELS_FILE)
        yield NewFolder(temporary, source, Repair(out))
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)
