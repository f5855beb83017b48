"""`fran project drop`: take a datasource out of a project."""

from __future__ import annotations

from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.schema import ProjectDropConfig
from fran.workflows.terminal import say


def project_drop(job: Job[ProjectDropConfig]) -> None:
    """Drop the datasource, bring the properties up to date, and say what is left over."""
    config = job.config
    project = existing_project(config.paths, config.project)
    report = project.drop_data(config.name)
    n = len(report.cases)
    say(f"{report.name}: {n} case{'s' * (n != 1)} left project {project.title}, which has {len(project)} now")
    for stage, held in report.unused:
        say(f"no longer used: {len(held)} cases in {stage.folder}, whose files stay")
    if any(case.has_foreground for case in project.training_cases()):
        project.maybe_store_projectwide_properties()
    say(f"raw files and statistics stay; add it again: fran init project={project.title} datasource=[{report.name}]")


def main() -> None:
    """Entry of `fran project drop`."""
    run_verb("project_drop", ProjectDropConfig, project_drop)
