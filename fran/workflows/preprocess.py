"""`fran preprocess`: the project's cases at a plan's spacing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import ConfigError, choices, problems_table
from fran.plans.schema import Plan
from fran.workflows.dry_run import say_stages
from fran.workflows.entry import Job, command, run_verb
from fran.workflows.label_flow import label_flow
from fran.workflows.projects import existing_project
from fran.workflows.schema import PreprocessConfig, PreprocessVerbConfig
from fran.workflows.terminal import say

if TYPE_CHECKING:
    from fran.preprocessing.run import Summary
    from fran.preprocessing.source import CaseJob, SourceParams
    from fran.projects.database import CaseRow
    from fran.projects.project import Project

log = logging.getLogger("fran.preprocess")


def preprocess(job: Job[PreprocessVerbConfig]) -> None:
    """Bring every case of the plan up to date and say what to run next."""
    config = job.config
    project = existing_project(config.paths, config.project)
    if config.dry_run:
        say_stages(job, project)
        say("nothing was done; leave --dry-run away to do it")
        return
    bring_up_to_date(project, config, config.preprocess)
    log.info("next: %s", command("train", job.overrides))


def bring_up_to_date(project: Project, plan: Plan, how: PreprocessConfig) -> Summary:
    """Preprocess what the plan needs and is not there yet.

    Raises:
        CasesFailed: some cases failed; the others are done.
        ConfigError: the plan names datasources that the project does not have, or the backend cannot be used.
    """
    from fran.parallel.backends import backend
    from fran.preprocessing.progress import progress_bar
    from fran.preprocessing.run import run_stage

    jobs = case_jobs(project, plan)
    everybody = [row.case_id for row in project.cases()]
    folder = plan_folder(project, plan)
    execute = backend(how.backend, how.ray_address)
    with progress_bar("preprocess") as progress:
        summary = run_stage(jobs, stage_params(plan), folder, how.num_processes, progress, everybody, execute)
    if summary.notes:
        log.info("%d to know about\n%s", len(summary.notes), problems_table(summary.notes))
    made = summary.done + summary.adopted
    log.info(
        "%d cases preprocessed in %.1f s, %d were there already: %s", made, summary.seconds, summary.skipped, folder
    )
    return summary


def case_jobs(project: Project, plan: Plan) -> list[CaseJob]:
    """The plan's raw cases as the first stage takes them."""
    from fran.preprocessing.source import CaseJob

    baked = label_flow(project, plan).baked
    return [
        CaseJob(
            *(r.case_id, r.image, r.lm, r.image_digest, r.lm_digest, r.modality, r.ds),
            remapping=baked[r.ds].get("source"),
        )
        for r in cases_of(project, plan)
    ]


def stage_params(plan: Plan) -> SourceParams:
    """What the stage reads from the plan.

    Raises:
        ConfigError: a mode without a stage.
    """
    from fran.preprocessing.source import SourceParams

    if plan.canonical_mode != SourceParams.stage:
        raise ConfigError(f"mode: this version preprocesses mode {SourceParams.stage} alone, found {plan.mode}")
    return SourceParams(plan.spacing_mm, plan.use_fg_indices, tuple(plan.fg_indices_exclude))


def plan_folder(project: Project, plan: Plan) -> Path:
    """Folder of the plan's case files, named by their content address."""
    from fran.preprocessing.keys import folder_name

    return project.folders.fixed_spacing / folder_name(plan.spacing_mm, stage_params(plan).key())


def cases_of(project: Project, plan: Plan) -> list[CaseRow]:
    """The project's cases from the plan's datasources.

    Raises:
        ConfigError: the plan names a datasource that the project does not have.
    """
    rows = project.cases()
    if plan.datasources is None:
        return rows
    known = sorted({row.ds for row in rows})
    for name in plan.datasources:
        if name not in known:
            raise ConfigError(f"datasources: the project has no datasource '{name}'; {choices(name, known)}")
    return [row for row in rows if row.ds in plan.datasources]


def main() -> None:
    """Entry of `fran preprocess` and scripts/preprocess.py."""
    run_verb("preprocess", PreprocessVerbConfig, preprocess)
