"""What lies in the folders of preprocessed data, whether it is whole, and which plan needs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.errors import CaseProblem, StoreError
from fran.io.casefile import NEXT_STEP
from fran.io.manifest import MANIFEST_NAME, Manifest
from fran.projects.database import PlanRow
from fran.projects.folders import ProjectFolders

KEEP = ("all", "newest")
_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class CachedStage:
    """One folder of preprocessed data.

    Attributes:
        folder: with the manifest and the case files.
        stage: its name; empty where the manifest cannot be read.
        cases: the project's cases in it.
        files: case files that the manifest lists.
        bytes: of everything in the folder; a file that several folders share counts in each with its part.
        stray: files that the manifest does not list: of cases taken off, of larger grids of patches, of killed runs.
        stray_bytes: of those.
        plans: ``<name> #<id>`` of the plans that need the folder.
    """

    folder: Path
    stage: str
    cases: int
    files: int
    bytes: int
    stray: tuple[Path, ...]
    stray_bytes: int
    plans: tuple[str, ...]


def roots(folders: ProjectFolders) -> list[Path]:
    """Folders that hold the folders of stages."""
    fast = sorted(p for p in folders.fast.iterdir() if p.is_dir()) if folders.fast.is_dir() else []
    return [folders.fixed_spacing, *(p for p in fast if p != folders.cache)]


def cached_stages(folders: ProjectFolders, plans: Sequence[PlanRow], keep: str = "all") -> list[CachedStage]:
    """Every stage's folder of a project.

    Args:
        folders: of the project.
        plans: those that were stored, the oldest first.
        keep: ``"all"``: each stored plan needs its stages; ``"newest"``: the last stored plan of each name does.
    """
    needed = _needed(plans, keep)
    found = (p for root in roots(folders) if root.is_dir() for p in sorted(root.iterdir()) if p.is_dir())
    return [_cached(folder, needed.get(folder.resolve(), ())) for folder in found]


def _needed(plans: Sequence[PlanRow], keep: str) -> dict[Path, tuple[str, ...]]:
    kept = plans if keep == "all" else {plan.name: plan for plan in plans}.values()
    needed: dict[Path, tuple[str, ...]] = {}
    for plan in kept:
        for _, folder in plan.stages.values():
            place = Path(folder).resolve()
            needed[place] = (*needed.get(place, ()), f"{plan.name} #{plan.id}")
    return needed


def _cached(folder: Path, plans: tuple[str, ...]) -> CachedStage:
    sizes = {p: _own_bytes(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    try:
        manifest = Manifest.load(folder)
    except StoreError:
        return CachedStage(folder, "", 0, 0, sum(sizes.values()), (), 0, plans)
    listed = {entry.file for entry in manifest.cases.values()}
    stray = [p for p in sizes if (p.suffix == ".h5" and p.name not in listed) or p.name.startswith(_TEMPORARY)]
    return CachedStage(
        folder,
        manifest.stage,
        len(manifest.files_by_case()),
        len(listed),
        sum(sizes.values()),
        tuple(stray),
        sum(sizes[p] for p in stray),
        plans,
    )


def _own_bytes(path: Path) -> int:
    status = path.stat()
    return status.st_size // status.st_nlink


def verify_stage(folder: Path) -> Iterator[tuple[str, CaseProblem | None]]:
    """Read every case file of a folder back and compare it with the digest that was written beside its voxels.

    Yields:
        file id, and what is wrong with the file.
    """
    try:
        manifest = Manifest.load(folder)
    except StoreError as error:
        yield folder.name, _damaged(folder.name, folder / MANIFEST_NAME, str(error))
        return
    for file_id, entry in sorted(manifest.cases.items()):
        try:
            with manifest.reader(file_id) as reader:
                reader.verify()
                key = reader.meta.key
            wrong = "" if key == entry.key else f"content address {key} instead of {entry.key}"
        except StoreError as error:
            wrong = str(error)
        yield file_id, _damaged(file_id, folder / entry.file, wrong) if wrong else None


def _damaged(file_id: str, path: Path, found: str) -> CaseProblem:
    return CaseProblem(file_id, str(path), "damaged file", "what was written", found, NEXT_STEP)


def unneeded(stages: Iterable[CachedStage]) -> list[CachedStage]:
    """Folders that no plan needs."""
    return [stage for stage in stages if not stage.plans]


def delete(stages: Iterable[CachedStage]) -> int:
    """Delete folders that no plan needs, and stray files of the others.

    Returns:
        bytes that were freed.
    """
    freed = 0
    for stage in stages:
        if not stage.plans:
            shutil.rmtree(stage.folder)
            freed += stage.bytes
            continue
        for path in stage.stray:
            path.unlink(missing_ok=True)
        freed += stage.stray_bytes
    return freed
