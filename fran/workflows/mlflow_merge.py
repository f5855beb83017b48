"""`fran mlflow merge`: runs that were tracked offline, or whose server was away, brought to where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fran.errors import FranError, SettingProblem, StoreError
from fran.tracking.cv_groups import groups_in
from fran.tracking.runs import exclusive
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.run_tracking import cv_folder
from fran.workflows.schema import MlflowMergeConfig
from fran.workflows.terminal import counting, say


def mlflow_merge(job: Job[MlflowMergeConfig]) -> None:
    """Copy what the project's store lacks, put folds below their parents, and say what was done.

    Runs whose own store did not take everything are brought up to date there.

    Raises:
        StoreError: no store to read, or one that cannot be.
        FranError: something could not be copied; the rest was.
    """
    from fran.tracking.late import bring_all, unfinished
    from fran.tracking.merge import Target, find_stores, merge_stores
    from fran.tracking.mlflow_logger import artifact_root, ensure_experiment, tracking_db, tracking_uri
    from fran.tracking.parents import gather

    config = job.config
    project = existing_project(config.paths, config.project)
    home = project.folders.project
    folder = Path(config.folder).expanduser() if config.folder else project.folders.checkpoints
    late = unfinished(folder)
    try:
        stores = find_stores(folder, but=tracking_db(home))
    except StoreError:
        if not late:
            raise
        stores = []
    target = Target(tracking_uri(config.tracking, home), artifact_root(config.tracking, home))
    with exclusive(home / ".merge.lock"), counting("runs") as progress:
        report = bring_all(late, cv_folder(project.folders))
        if stores:
            merge_stores(stores, target, progress, report)
            title = config.tracking.experiment or project.project_title
            experiment = ensure_experiment(target.uri, title, target.artifact_root)
            for group in groups_in(cv_folder(project.folders)):
                gather(target.uri, experiment, group)
    for word in ("copied", "continued", "unchanged", "joined", "deleted"):
        names = getattr(report, word)
        if names:
            say(f"{_WORDS[word]}: {len(names)} ({', '.join(names[:5])}{', …' * (len(names) > 5)})")
    if stores:
        say(f"{len(stores)} stores read below {folder}; they stay as they are")
    if report.problems:
        raise FranError("\n".join(["not everything could be copied:", *report.problems]))


_WORDS = {
    "copied": "copied",
    "continued": "brought up to date",
    "unchanged": "there already",
    "joined": "cross-validations there already",
    "deleted": "deleted in the store, left so",
}


def check(config: MlflowMergeConfig) -> Sequence[SettingProblem]:
    """Settings that cannot work."""
    found = config.tracking.problems()
    if config.tracking.backend == "none" or config.tracking.uri == "offline":
        expected = "the store to merge into: tracking=mlflow, or tracking.uri=<server>"
        found.append(SettingProblem("tracking", config.tracking.uri or config.tracking.backend, expected))
    return found


def main() -> None:
    """Entry of `fran mlflow merge`."""
    run_verb("mlflow_merge", MlflowMergeConfig, mlflow_merge, check)
