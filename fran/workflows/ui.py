"""`fran ui`: MLflow over a project's runs."""

from __future__ import annotations

from fran.errors import FranError
from fran.workflows.entry import INTERRUPTED, Job, run_verb
from fran.workflows.projects import folders_of
from fran.workflows.schema import UiConfig


def ui(job: Job[UiConfig]) -> None:
    """Serve MLflow until Ctrl-C, with settings that start in seconds; print the plain command too."""
    from fran.tracking.mlflow_logger import tracking_db
    from fran.tracking.ui import run_ui

    config = job.config
    folders = folders_of(config.paths, config.project)
    status = run_ui(tracking_db(folders.project), config.port, config.host)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise FranError(f"mlflow server ended with status {status}; its own message stands above")


def main() -> None:
    """Entry of `fran ui`."""
    run_verb("ui", UiConfig, ui)
