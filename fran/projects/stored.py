"""What has been preprocessed for a project: the manifests below its folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fran.errors import StoreError
from fran.io.manifest import MANIFEST_NAME, Manifest
from fran.projects.folders import ProjectFolders


@dataclass(frozen=True)
class StageFolder:
    """One preprocessed folder.

    Attributes:
        folder: where manifest and case files lie.
        stage: name of the stage; empty where the manifest cannot be read.
        key: content address.
        cases: ids of the cases in it.
        bytes: size of their files.
    """

    folder: Path
    stage: str
    key: str
    cases: frozenset[str]
    bytes: int


def stage_folders(folders: ProjectFolders) -> list[StageFolder]:
    """Every preprocessed folder of a project, in order of path."""
    roots = (folders.fixed_spacing, folders.lbd, folders.rbd, folders.pbd, folders.whole_images)
    return [_stage_folder(path.parent) for root in roots for path in _manifests(root)]


def _manifests(root: Path) -> Iterable[Path]:
    return sorted(root.glob(f"*/{MANIFEST_NAME}"))


def _stage_folder(folder: Path) -> StageFolder:
    try:
        manifest = Manifest.load(folder)
    except StoreError:
        return StageFolder(folder, "", "", frozenset(), 0)
    size = sum(entry.bytes for entry in manifest.cases.values())
    return StageFolder(folder, manifest.stage, manifest.key, frozenset(manifest.cases), size)
