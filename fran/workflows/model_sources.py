"""What `runs=[…]` may name, and the models behind it: runs of this machine, and of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import NothingNamedSo, StoreError
from fran.projects.folders import ProjectFolders
from fran.remote.settings import HpcSettings
from fran.workflows.hpc import SETTINGS, cluster, hpc_settings, needed_settings
from fran.workflows.predictors import find_checkpoint, is_path
from fran.workflows.terminal import transferring

if TYPE_CHECKING:
    from fran.io.checkpoint import ModelFile

CHECKPOINTS = ("best", "last")
HPC = "hpc:"


@dataclass(frozen=True)
class ModelSources:
    """Where models of a command come from.

    Attributes:
        folders: of the project.
        checkpoint: "best" or "last".
        tracking_uri: store of runs and models named by MLflow; None is the project's own.
        known: what was read before, by name.
    """

    folders: ProjectFolders
    checkpoint: str = "best"
    tracking_uri: str | None = None
    known: dict[str, list[ModelFile]] = field(default_factory=dict, compare=False)

    def read(self, name: str, key: str = "runs") -> list[ModelFile]:
        """The models that a name stands for: a run, a run folder, a checkpoint, a bundle, ``hpc:<run>``,
        ``mlflow:<run id>`` or ``models:/<name>@<alias>``.

        A run that is not here is looked for on the cluster that ``$HPC_SETTINGS`` describes.

        Args:
            name: as given.
            key: the setting that it is a value of, for messages.

        Raises:
            StoreError: there is no such model, or it cannot be fetched.
        """
        if name not in self.known:
            self.known[name] = self._read(name, key)
        return self.known[name]

    def _read(self, name: str, key: str) -> list[ModelFile]:
        from fran.bundle.members import read_bundle
        from fran.io.checkpoint import read_model

        if self.is_bundle(path := Path(name).expanduser()):
            return read_bundle(path, models_folder(self.folders) / "bundles")
        return [read_model(self._checkpoint(name, key))]

    @staticmethod
    def is_bundle(path: Path) -> bool:
        """Whether a folder or file is what `fran export` writes."""
        from fran.bundle.members import is_bundle

        return is_bundle(path)

    def _checkpoint(self, name: str, key: str) -> Path:
        if name.startswith(("mlflow:", "models:/")):
            from fran.tracking.fetch import fetch_model
            from fran.tracking.mlflow_logger import tracking_uri
            from fran.tracking.settings import TrackingSettings

            uri = tracking_uri(TrackingSettings(uri=self.tracking_uri), self.folders.project)
            return fetch_model(uri, name, self.checkpoint, models_folder(self.folders))
        if name.startswith(HPC):
            return pull(needed_settings(), self.folders, name.removeprefix(HPC), self.checkpoint)
        try:
            return find_checkpoint(name, self.folders.checkpoints, self.checkpoint, key)
        except StoreError as error:
            if is_path(name) or Path(name).expanduser().exists():
                raise
            settings = hpc_settings()
            if settings is None:
                raise NothingNamedSo(f"{error}; for runs of a cluster set {SETTINGS}") from error
            return pull(settings, self.folders, name, self.checkpoint)


def folder_name(runs: Sequence[Sequence[ModelFile]]) -> str:
    """Name of a folder for the predictions of some runs."""
    return "+".join(str(m.meta.get("run", m.path.parent.name)) for models in runs for m in models)


def models_folder(folders: ProjectFolders) -> Path:
    """Copies of models from elsewhere, of all projects."""
    return folders.cold / "models"


def pull(settings: HpcSettings, folders: ProjectFolders, run: str, checkpoint: str) -> Path:
    """Checkpoint of a run of the cluster, fetched where that is needed; see `fran.remote.runs.fetch_run`."""
    with cluster(settings) as opened, transferring(run) as on_bytes:
        from fran.remote.runs import fetch_run

        return fetch_run(opened, folders.title, run, checkpoint, models_folder(folders), on_bytes)
