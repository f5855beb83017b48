"""`fran preprocess`: a plan's cases through all of its stages."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fran.errors import ConfigError, problems_table
from fran.workflows.dry_run import say_stages
from fran.workflows.entry import Job, command, run_verb
from fran.workflows.machine_advice import trainable_here
from fran.workflows.plan_data import PlanData, data_of, raw_jobs
from fran.workflows.projects import existing_project
from fran.workflows.schema import PreprocessConfig, PreprocessVerbConfig
from fran.workflows.terminal import say

if TYPE_CHECKING:
    from fran.preprocessing.run import Summary
    from fran.projects.project import Project

log = logging.getLogger("fran.preprocess")


def preprocess(job: Job[PreprocessVerbConfig]) -> list[Summary]:
    """Bring every case of the plan up to date and say what to run next; what became of each stage."""
    config = job.config
    project = existing_project(config.paths, config.project)
    if config.dry_run:
        say_stages(job, project)
        say("nothing was done; leave --dry-run away to do it")
        return []
    summaries = bring_up_to_date(project, data_of(project, job), config.preprocess)
    settings, remark = trainable_here(job.overrides)
    log.info("next: %s", command("train", settings))
    if remark:
        log.info("      (%s)", remark)
    return summaries


def bring_up_to_date(project: Project, data: PlanData, how: PreprocessConfig) -> list[Summary]:
    """Preprocess what the plan needs and is not there yet.

    Raises:
        CasesFailed: some cases failed; the others are done.
        ConfigError: the backend cannot be used.
    """
    from fran.parallel.backends import backend
    from fran.parallel.progress import progress
    from fran.preprocessing.pipeline import run_chain

    everybody = [row.case_id for row in project.cases()]
    execute = backend(how.backend, how.ray_address)
    if data.valid is not None:
        bring_up_to_date(project, data.valid, how)
    data.register(project)
    processes = num_processes(data, how)
    summaries = run_chain(raw_jobs(data.rows), data.links, processes, progress, everybody, execute)
    for link, summary in zip(data.links, summaries, strict=True):
        _say(link.stage.name, summary)
    return summaries


def num_processes(data: PlanData, how: PreprocessConfig) -> int:
    """Processes to use: as asked for, or for -1 as many as cores and memory allow.

    Raises:
        ConfigError: neither -1 nor 1 or more.
    """
    from fran.preprocessing.memory import AUTO, case_bytes, fitting_processes, free_memory, usable_cores

    if how.num_processes >= 1:
        return how.num_processes
    if how.num_processes != AUTO:
        raise ConfigError(f"preprocess.num_processes: expected -1 (automatic) or 1 or more, found {how.num_processes}")
    needs = [case_bytes(row.size, row.spacing_mm, data.plan.spacing_mm) for row in data.rows]
    chosen = fitting_processes(needs, free_memory(), usable_cores())
    log.info("%d processes; the largest case is expected to need %.1f GB", chosen, max(needs, default=0) / 1e9)
    return chosen


def _say(stage: str, summary: Summary) -> None:
    if summary.notes:
        log.info("%s: %d to know about\n%s", stage, len(summary.notes), problems_table(summary.notes))
    adopted = f", {summary.adopted} adopted as they were" if summary.adopted else ""
    log.info(
        "%s: %d cases preprocessed in %.1f s%s, %d were there already: %s",
        *(stage, summary.done, summary.seconds, adopted, summary.skipped, summary.folder),
    )


def main() -> None:
    """Entry of `fran preprocess` and scripts/preprocess.py."""
    run_verb("preprocess", PreprocessVerbConfig, preprocess)
