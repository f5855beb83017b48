"""`fran project sheet`: a picture of every case with its labels, and a table of label sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fran.errors import CasesFailed, ConfigError, SettingProblem, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.schema import SheetConfig
from fran.workflows.terminal import counting, say


def project_sheet(job: Job[SheetConfig]) -> None:
    """Draw the raw cases of a project, or of one of its datasources.

    Raises:
        ConfigError: no such datasource.
        CasesFailed: cases that could not be read; the others are drawn.
    """
    from fran.reporting.sheet import SheetCase, write_sheets

    config = job.config
    project = existing_project(config.paths, config.project)
    if config.datasource is not None and config.datasource not in project.datasources:
        raise ConfigError(
            f"datasource: none called '{config.datasource}'; {choices(config.datasource, project.datasources)}"
        )
    rows = [row for row in project.cases() if config.datasource in (None, row.ds)]
    cases = [SheetCase(row.case_id, row.ds, row.image, row.lm) for row in rows]
    names = {v: n for source in project.database.sources().values() for v, n in source.label_names.items()}
    folder = Path(config.output).expanduser() if config.output else project.folders.project / "sheets"
    with counting("sheet") as progress:
        files, problems = write_sheets(cases, names, folder, config.columns, progress)
    for file in files:
        say(str(file))
    if problems:
        raise CasesFailed(f"{len(problems)} of {len(cases)} cases could not be drawn", problems)


def check(config: SheetConfig) -> Sequence[SettingProblem]:
    """Settings that cannot work."""
    return [] if config.columns > 0 else [SettingProblem("columns", config.columns, "1 or more")]


def main() -> None:
    """Entry of `fran project sheet`."""
    run_verb("project_sheet", SheetConfig, project_sheet, check)
