"""Case files that another folder of the same stage holds under the same content address: linked instead of made.

Two stages may differ in what concerns some cases only (the remapping of one datasource, the place of imported label
maps), so each of the others' cases has one address in both. Case files are replaced and never changed, so that a file
may have several names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fran.errors import StoreError
from fran.io.files import atomic_path
from fran.io.manifest import Manifest


def folders_beside(folder: Path) -> list[Path]:
    """The other folders in a folder's parent, in a fixed order."""
    if not folder.parent.is_dir():
        return []
    return [p for p in sorted(folder.parent.iterdir()) if p.is_dir() and p.name != folder.name]


def listed_keys(folders: Iterable[Path], stage: str) -> dict[str, Path]:
    """Content address of a case → folder whose manifest lists files with it; the first such folder.

    Args:
        folders: those without a manifest that can be read are passed over.
        stage: name of the stage that they must be of.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        with suppress(StoreError):
            manifest = Manifest.load(folder)
            if manifest.stage == stage:
                found = {entry.key: folder for entry in manifest.cases.values()} | found
    return found


def linked(paths: Iterable[Path], folder: Path) -> tuple[Path, ...]:
    """Give files a second name in a folder, each atomically; they are copied where the file system has no links.

    Returns:
        the new names.
    """
    return tuple(_linked(path, folder / path.name) for path in paths)


def _linked(path: Path, target: Path) -> Path:
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        with atomic_path(target) as copy:
            shutil.copyfile(path, copy)
    return target
