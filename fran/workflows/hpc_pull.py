"""`fran hpc pull`: fetch runs of a project from the cluster, without predicting."""

from __future__ import annotations

from fran.errors import SettingProblem, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.hpc import needed_settings
from fran.workflows.model_sources import CHECKPOINTS, pull
from fran.workflows.projects import folders_of
from fran.workflows.schema import HpcConfig
from fran.workflows.terminal import say


def hpc_pull(job: Job[HpcConfig]) -> None:
    """Fetch what is not here yet, and print where it is."""
    folders = folders_of(job.config.paths, job.config.project)
    for run in job.config.runs:
        say(str(pull(needed_settings(), folders, run, job.config.checkpoint)))


def check(config: HpcConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found = [] if config.runs else [SettingProblem("runs", config.runs, "the name of one run at least")]
    if config.checkpoint not in CHECKPOINTS:
        found.append(SettingProblem("checkpoint", config.checkpoint, choices(config.checkpoint, CHECKPOINTS)))
    return found


def main() -> None:
    """Entry of `fran hpc pull`."""
    run_verb("hpc_pull", HpcConfig, hpc_pull, check)
