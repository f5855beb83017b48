"""`fran cache ls`: the folders of preprocessed data, and which plans need them."""

from __future__ import annotations

from fran.preprocessing.cache import CachedStage, cached_stages
from fran.workflows.entry import Job, run_verb
from fran.workflows.plan_text import short_path, size_text
from fran.workflows.projects import existing_project
from fran.workflows.schema import CacheConfig
from fran.workflows.terminal import say, say_json, show_table

COLUMNS = ("stage", "cases", "files", "disk", "needed by", "folder")


def cache_ls(job: Job[CacheConfig]) -> None:
    """Print one row for each folder."""
    project = existing_project(job.config.paths, job.config.project)
    stages = cached_stages(project.folders, project.plans)
    if job.config.json:
        say_json([vars(stage) for stage in stages])
        return
    show_table(f"Preprocessed data of project {project.title}", COLUMNS, [row(stage) for stage in stages])
    say(f"{len(stages)} folder{'s' * (len(stages) != 1)}, {size_text(sum(stage.bytes for stage in stages))}")


def row(stage: CachedStage) -> list[str]:
    """Cells of `COLUMNS`."""
    needed = ", ".join(stage.plans) or "no plan"
    cells = [stage.stage or "no manifest", str(stage.cases), str(stage.files), size_text(stage.bytes)]
    return [*cells, needed, short_path(stage.folder)]


def main() -> None:
    """Entry of `fran cache ls`."""
    run_verb("cache_ls", CacheConfig, cache_ls)
