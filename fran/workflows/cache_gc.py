"""`fran cache gc`: preprocessed data that no plan needs; shown, and deleted only when told."""

from __future__ import annotations

from collections.abc import Sequence

from fran.errors import SettingProblem, choices
from fran.preprocessing.cache import KEEP, CachedStage, cached_stages, delete, unneeded
from fran.workflows.cache_ls import COLUMNS, row
from fran.workflows.entry import Job, run_verb
from fran.workflows.plan_text import size_text
from fran.workflows.projects import existing_project
from fran.workflows.schema import CacheGcConfig
from fran.workflows.terminal import say, say_json, show_table


def cache_gc(job: Job[CacheGcConfig]) -> None:
    """Say what no plan needs; delete it where that is asked for."""
    config = job.config
    project = existing_project(config.paths, config.project)
    stages = cached_stages(project.folders, project.plans, config.keep)
    spare, stray = unneeded(stages), [stage for stage in stages if stage.plans and stage.stray]
    size = sum(stage.bytes for stage in spare) + sum(stage.stray_bytes for stage in stray)
    if not config.json:
        _show(spare, stray)
    if config.delete:
        size = delete([*spare, *stray])
    if config.json:
        found = {"unneeded": [vars(stage) for stage in spare], "stray": [file for s in stray for file in s.stray]}
        say_json({**found, "bytes": size, "deleted": config.delete})
    elif spare or stray:
        say(
            f"deleted: {size_text(size)}"
            if config.delete
            else f"nothing was deleted; delete=true frees {size_text(size)}"
        )


def _show(spare: Sequence[CachedStage], stray: Sequence[CachedStage]) -> None:
    if not spare and not stray:
        say("every folder and file is needed by a plan")
    if spare:
        show_table("Needed by no plan", COLUMNS, [row(stage) for stage in spare])
    for stage in stray:
        say(f"{len(stage.stray)} files that no manifest lists, {size_text(stage.stray_bytes)}: {stage.folder}")


def check(config: CacheGcConfig) -> Sequence[SettingProblem]:
    """Settings that cannot work."""
    return [] if config.keep in KEEP else [SettingProblem("keep", config.keep, choices(config.keep, KEEP))]


def main() -> None:
    """Entry of `fran cache gc`."""
    run_verb("cache_gc", CacheGcConfig, cache_gc, check)
