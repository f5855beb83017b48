"""`fran project ls`: the projects that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fran.errors import FranError
from fran.projects.project import Project
from fran.projects.status import runs
from fran.workflows.entry import Job, run_verb
from fran.workflows.plan_text import short_path
from fran.workflows.projects import folders_of
from fran.workflows.schema import PathsConfig, ProjectConfig, ProjectLsConfig
from fran.workflows.terminal import say, say_json, show_table

COLUMNS = ("project", "training", "test", "runs", "last run", "begun (UTC)", "folder")


def project_ls(job: Job[ProjectLsConfig]) -> None:
    """Print one row for each project, or a JSON list."""
    config = job.config
    found = [entry(path.parent.name, config.paths) for path in sorted(Path(config.paths.projects).glob("*/cases.db"))]
    if config.json:
        say_json(found)
    elif found:
        show_table("", COLUMNS, [_cells(row) for row in found])
        for row in found:
            if row["problem"]:
                say(row["problem"])
    else:
        say(
            f"no project in {config.paths.projects} yet; make one: fran init -t <title> -i <folder of images/ and lms/>"
        )


def entry(title: str, paths: PathsConfig) -> dict[str, Any]:
    """A project as plain data; "problem" says why its cases cannot be read."""
    folders = folders_of(paths, ProjectConfig(title))
    trained = runs(folders.checkpoints)
    last = max(trained, key=lambda run: str(run["started_at"]), default=None)
    try:
        tests, problem = [case.test for case in Project(title, folders).cases()], None
    except FranError as error:
        tests, problem = [], str(error)
    return {
        "project": title,
        "folder": str(folders.project),
        "n_training": tests.count(False),
        "n_test": tests.count(True),
        "n_runs": len(trained),
        "last_run": last and last["name"],
        "last_run_at": last and last["started_at"],
        "problem": problem,
    }


def _cells(row: dict[str, Any]) -> list[object]:
    begun = (row["last_run_at"] or "")[:16].replace("T", " ")
    counts = ("?", "?") if row["problem"] else (row["n_training"], row["n_test"])
    return [row["project"], *counts, row["n_runs"], row["last_run"] or "", begun, short_path(Path(row["folder"]))]


def main() -> None:
    """Entry of `fran project ls`."""
    run_verb("project_ls", ProjectLsConfig, project_ls)
