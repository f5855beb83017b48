"""Where a project keeps its files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fran.errors import ConfigError

_TITLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


def check_title(title: str) -> None:
    """Refuse a project title that cannot become a folder name.

    Raises:
        ConfigError: the title has other characters than letters, digits and ``_``.
    """
    if not _TITLE.fullmatch(title):
        raise ConfigError(f"project title: expected letters, digits and '_', found '{title}'")


@dataclass(frozen=True)
class ProjectFolders:
    """The folders of one project, built from the roots; nothing is created before `make`.

    Args:
        title: of the project.
        projects: root of the small files: database, properties, logs.
        cold: root of large files on slow storage: links to raw data, source volumes, predictions, checkpoints.
        rapid: root of what training reads, on fast storage.
        checkpoints_root: root of the run folders; ``<cold>/checkpoints`` where None.
    """

    title: str
    projects: Path
    cold: Path
    rapid: Path
    checkpoints_root: Path | None = None

    def __post_init__(self) -> None:
        check_title(self.title)
        for root in ("projects", "cold", "rapid"):
            object.__setattr__(self, root, _absolute(getattr(self, root)))
        checkpoints = self.checkpoints_root or self.cold / "checkpoints"
        object.__setattr__(self, "checkpoints_root", _absolute(checkpoints))

    @property
    def project(self) -> Path:
        """Database, properties, folds, logs."""
        return self.projects / self.title

    @property
    def database(self) -> Path:
        """cases.db."""
        return self.project / "cases.db"

    @property
    def global_properties(self) -> Path:
        """global_properties.json."""
        return self.project / "global_properties.json"

    @property
    def validation_folds(self) -> Path:
        """validation_folds.json, a copy of the folds for people."""
        return self.project / "validation_folds.json"

    @property
    def mask_labels(self) -> Path:
        """mask_labels.json, the rules of post-processing per label."""
        return self.project / "mask_labels.json"

    @property
    def quality(self) -> Path:
        """qc.json, the verdicts about the cases."""
        return self.project / "qc.json"

    @property
    def pool(self) -> Path:
        """Pooled voxels of the training cases; made anew where it is missing. See `fran.projects.pooling`."""
        return self.project / "properties_pool.npz"

    @property
    def link_journal(self) -> Path:
        """There while links to raw files change; see `fran.projects.links`."""
        return self.project / "links.pending.json"

    @property
    def logs(self) -> Path:
        """Logs."""
        return self.project / "logs"

    @property
    def raw(self) -> Path:
        """Parent of ``images`` and ``lms``, which hold links to the raw files."""
        return self.cold / "datasets" / "raw_data" / self.title

    @cached_property  # asked for each case
    def raw_images(self) -> Path:
        """Links to the images."""
        return self.raw / "images"

    @cached_property  # asked for each case
    def raw_lms(self) -> Path:
        """Links to the label maps."""
        return self.raw / "lms"

    @property
    def preprocessed(self) -> Path:
        """Preprocessed data on cold storage."""
        return self.cold / "datasets" / "preprocessed" / self.title

    @property
    def fixed_spacing(self) -> Path:
        """Whole volumes at the spacing of a plan (mode ``source``)."""
        return self.preprocessed / "fixed_spacing"

    @property
    def fast(self) -> Path:
        """Parent of the folders on rapid storage."""
        return self.rapid / self.title

    @property
    def lbd(self) -> Path:
        """Volumes cropped to their labels."""
        return self.fast / "lbd"

    @property
    def rbd(self) -> Path:
        """Volumes cropped to a localiser's regions."""
        return self.fast / "rbd"

    @property
    def pbd(self) -> Path:
        """Patches."""
        return self.fast / "pbd"

    @property
    def whole_images(self) -> Path:
        """Volumes resized to the patch size."""
        return self.fast / "whole_images"

    @property
    def cache(self) -> Path:
        """What may be deleted at any time."""
        return self.fast / "cache"

    @property
    def predictions(self) -> Path:
        """Predicted label maps."""
        return self.cold / "predictions" / self.title

    @property
    def checkpoints(self) -> Path:
        """Parent of the run folders."""
        return _absolute(self.checkpoints_root or self.cold / "checkpoints") / self.title

    def statistics(self, datasource: str) -> Path:
        """Folder of the fg_voxels.h5 of a datasource."""
        return self.project / "datasources" / datasource

    def make(self) -> None:
        """Create every folder."""
        for folder in self._all():
            folder.mkdir(parents=True, exist_ok=True)

    def contents(self) -> frozenset[Path]:
        """What the project's own folder holds besides logs."""
        return frozenset(self.project.iterdir() if self.project.is_dir() else ()) - {self.logs}

    def unmake(self, kept: Collection[Path]) -> None:
        """Remove what was put into the project's own folder, logs included, then every folder that is empty.

        Args:
            kept: `contents` before the project was created; they stay.
        """
        for path in (*self.contents(), *([] if kept else [self.logs])):
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        roots = {self.projects, self.cold, self.rapid, _absolute(self.checkpoints_root or self.cold)}
        for made in (*self._all(), self.project):
            for folder in (made, *made.parents):
                if not any(folder in (root, *root.parents) for root in roots) and folder.is_dir():
                    if any(folder.iterdir()):
                        break
                    folder.rmdir()

    def _all(self) -> tuple[Path, ...]:
        return (
            *(self.logs, self.raw_images, self.raw_lms, self.fixed_spacing, self.lbd, self.rbd, self.pbd),
            *(self.whole_images, self.cache, self.predictions, self.checkpoints),
        )


def _absolute(path: Path | str) -> Path:
    return Path(path).expanduser().absolute()
