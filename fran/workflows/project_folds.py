"""`fran project folds`: deal the folds that are missing, or all of them anew, and show them."""

from __future__ import annotations

import json

from fran.errors import ConfigError
from fran.workflows.entry import Job, run_verb
from fran.workflows.project_status import say_folds
from fran.workflows.projects import existing_project
from fran.workflows.schema import ProjectFoldsConfig
from fran.workflows.terminal import say


def project_folds(job: Job[ProjectFoldsConfig]) -> None:
    """Print the folds after dealing, or one JSON object."""
    from fran.projects.status import project_status

    config = job.config
    project = existing_project(config.paths, config.project)
    if config.reassign and not project.training_cases():
        raise ConfigError(f"reassign: expected training cases in project {project.title}, found none")
    before = project_status(project)["folds"]
    project.maybe_store_projectwide_properties(config.n_folds, config.seed, config.reassign)
    folds = project_status(project)["folds"]
    if config.json:
        say(json.dumps(folds, indent=1))
        return
    say_folds(folds)
    if config.reassign and before["digest"] != folds["digest"] and before["cases"]:
        say(f"Dealt anew, digest {before['digest']} before: earlier runs have validated on other cases; compare none.")
    say(f"lists of cases: {project.folders.validation_folds}")


def main() -> None:
    """Entry of `fran project folds`."""
    run_verb("project_folds", ProjectFoldsConfig, project_folds)
