"""`fran project folds`: deal the folds that are missing, or all of them anew, and show them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fran.errors import ConfigError
from fran.projects.project import Project
from fran.projects.splits_file import FILE, write_splits
from fran.workflows.entry import Job, run_verb
from fran.workflows.project_status import say_folds
from fran.workflows.projects import existing_project
from fran.workflows.schema import ProjectFoldsConfig
from fran.workflows.terminal import say, say_json

log = logging.getLogger("fran.folds")


def project_folds(job: Job[ProjectFoldsConfig]) -> None:
    """Print the folds after dealing, or one JSON object."""
    from fran.projects.status import project_status

    config = job.config
    project = existing_project(config.paths, config.project)
    if config.reassign and not project.training_cases():
        raise ConfigError(f"reassign: expected training cases in project {project.title}, found none")
    before = project_status(project)["folds"]
    if config.from_file is None:
        project.maybe_store_projectwide_properties(config.n_folds, config.seed, config.reassign)
    else:
        _take(project, config)
    folds = project_status(project)["folds"]
    if config.to_file is not None:
        write_splits(Path(config.to_file), [project.split(int(fold)) for fold in sorted(folds["cases"], key=int)])
    if config.json:
        say_json(folds)
        return
    say_folds(folds)
    if config.reassign and before["digest"] != folds["digest"] and before["cases"]:
        say(f"Dealt anew, digest {before['digest']} before: earlier runs have validated on other cases; compare none.")
    say(f"lists of cases: {project.folders.validation_folds}")
    if config.to_file is not None:
        say(f"for nnU-Net: {config.to_file}; it looks for it in nnUNet_preprocessed/<dataset>/{FILE}")


def _take(project: Project, config: ProjectFoldsConfig) -> None:
    for name in ("n_folds", "seed"):
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: expected none beside from=, whose file says it all; leave one of the two away")
    take_folds(project, Path(str(config.from_file)), config.reassign)
    project.maybe_store_projectwide_properties()


def take_folds(project: Project, path: Path, reassign: bool = False) -> None:
    """Give a project the folds of a splits_final.json, and say which cases no fold of the file validates with."""
    found = project.take_folds(path.expanduser().absolute(), reassign)
    if found.never:
        n, last = len(found.never), found.n_folds - 1
        log.info("%d cases validate in no fold of %s: they are fold %d, which the file does not have", n, path, last)


def translate(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides for a command line with ``from=`` and ``to=``, of which Python keeps one to itself.

    Example:
        >>> translate(["from=a.json", "to=b.json", "seed=1"])
        ['from_file=a.json', 'to_file=b.json', 'seed=1']
    """
    return [re.sub(r"^(from|to)=", r"\1_file=", argument) for argument in arguments]


def main() -> None:
    """Entry of `fran project folds`."""
    sys.argv[1:] = translate(sys.argv[1:])
    run_verb("project_folds", ProjectFoldsConfig, project_folds)
