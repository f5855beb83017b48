"""Run the stages of a plan one after the other; a case that fails in one is left out of the next, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from fran.errors import CaseProblem, CasesFailed
from fran.io.manifest import Manifest
from fran.parallel.jobs import Execute
from fran.parallel.local import run_jobs
from fran.preprocessing.guides import Digests, guide_files, guide_of
from fran.preprocessing.run import ProgressCallback, Summary, run_stage
from fran.preprocessing.sharing import folders_beside
from fran.preprocessing.stages.parts import ChildJob
from fran.preprocessing.stages.source import CaseJob
from fran.preprocessing.stages.stage import Job, Stage


@dataclass(frozen=True)
class Link:
    """One stage of a chain and the folder of its files."""

    stage: Stage
    folder: Path


Bar = Callable[[str], AbstractContextManager[ProgressCallback]]


def run_chain(
    cases: Sequence[CaseJob],
    links: Sequence[Link],
    num_processes: int = 1,
    bar: Bar | None = None,
    also_listed: Collection[str] = (),
    execute: Execute = run_jobs,
) -> list[Summary]:
    """Bring the folders of a chain up to date, the first stage first.

    Args:
        cases: raw cases.
        links: stages and their folders; each stage reads the files of the one before.
        num_processes: at the same time.
        bar: makes a progress callback for a stage's name.
        also_listed: case ids that stay in the manifests though this run has no such case.
        execute: see :func:`fran.preprocessing.run.run_stage`.

    Returns:
        what was done in each stage.

    Raises:
        CasesFailed: cases failed in some stage; the others are done in all of them.
    """
    summaries: list[Summary] = []
    problems: list[CaseProblem] = []
    titles: list[str] = []
    left: Sequence[CaseJob] = cases
    before: Link | None = None
    for link in links:
        jobs: Sequence[Job] = left
        if before is not None:
            digests = Digests.load(link.folder)
            jobs = child_jobs(left, before, link, digests)
            # they only spare reading; a store that cannot be written to is reported by the stage
            with suppress(OSError):
                digests.save()
        beside = folders_beside(link.folder)
        try:
            with bar(link.stage.name) if bar else nullcontext() as report:
                summary = run_stage(jobs, link.stage, link.folder, num_processes, report, also_listed, execute, beside)
            summaries.append(summary)
        except CasesFailed as failed:
            problems += failed.problems
            titles.append(f"{link.stage.name}: {failed.title}")
            bad = {problem.case_id for problem in failed.problems}
            left = [case for case in left if case.case_id not in bad]
        before = link
    if problems:
        raise CasesFailed("\n".join(titles), problems)
    return summaries


def child_jobs(cases: Sequence[CaseJob], before: Link, link: Link, digests: Digests) -> list[ChildJob]:
    """Jobs of a stage for the cases that the stage before it has made.

    Args:
        cases: all of them in the manifest of the stage before.
        before, link: the two stages.
        digests: of the label maps that the stage reads beside; new ones are added.

    Raises:
        ConfigError: a folder of label maps that the stage reads is not there.
    """
    manifest = Manifest.load(before.folder)
    wanted = {ds: link.stage.guide_folder(ds) for ds in {case.datasource for case in cases}}
    folders = {ds: folder for ds, folder in wanted.items() if folder is not None}
    files = {ds: guide_files(folder) for ds, folder in folders.items()}
    jobs = []
    for case in cases:
        guide = None
        if case.datasource in folders:
            guide = guide_of(files[case.datasource], folders[case.datasource], case.case_id, case.image)
        entry = manifest.cases[case.case_id]
        digest = None if guide is None else digests.of(guide)
        path = manifest.path(case.case_id)
        jobs.append(ChildJob(case.case_id, case.datasource, case.image, path, entry.key, guide, digest))
    return jobs
