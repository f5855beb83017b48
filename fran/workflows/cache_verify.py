"""`fran cache verify`: read every preprocessed file back."""

from __future__ import annotations

from dataclasses import asdict

from fran.errors import CaseProblem, CasesFailed
from fran.preprocessing.cache import cached_stages, verify_stage
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.schema import CacheConfig
from fran.workflows.terminal import counting, say, say_json


def cache_verify(job: Job[CacheConfig]) -> None:
    """Compare every file's voxels with their digest.

    Raises:
        CasesFailed: some files are not what was written.
    """
    project = existing_project(job.config.paths, job.config.project)
    stages = cached_stages(project.folders, project.plans)
    total = sum(stage.files for stage in stages)
    problems: list[CaseProblem] = []
    done = 0
    with counting("verify") as progress:
        for stage in stages:
            for _, problem in verify_stage(stage.folder):
                done += 1
                progress(done, total)
                problems += [problem] if problem else []
    if job.config.json:
        say_json({"files": total, "folders": len(stages), "damaged": [asdict(problem) for problem in problems]})
    if problems:
        raise CasesFailed(f"{len(problems)} of {total} files are damaged", problems)
    if not job.config.json:
        say(f"{total} files in {len(stages)} folders are what was written")


def main() -> None:
    """Entry of `fran cache verify`."""
    run_verb("cache_verify", CacheConfig, cache_verify)
