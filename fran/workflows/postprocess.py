"""`fran postprocess`: rules for each label, applied to label maps that are there already."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import SettingProblem, StoreError
from fran.projects.mask_labels import LabelRule, read_rules
from fran.projects.project import Project
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import folders_of
from fran.workflows.schema import PostprocessConfig
from fran.workflows.terminal import counting, show_table

if TYPE_CHECKING:
    from fran.inference.postprocess_folder import CleanResult

log = logging.getLogger("fran.postprocess")


def postprocess(job: Job[PostprocessConfig]) -> None:
    """Write the label maps, and say what was removed from each label."""
    from fran.inference.postprocess_folder import postprocess_folder

    config = job.config
    with counting("postprocess") as on_case:
        results = postprocess_folder(
            *(Path(config.input).expanduser(), Path(config.output).expanduser(), _rules(config)),
            overwrite=config.overwrite,
            num_processes=config.num_processes,
            on_case=on_case,
        )
    columns = ("label", "name", "cases changed", "components removed", "voxels removed", "voxels filled")
    show_table("", columns, _rows(results))
    skipped = sum(result.status == "skipped" for result in results)
    log.info("%d label maps written, %d finished before: %s", len(results) - skipped, skipped, config.output)


def check(config: PostprocessConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found = []
    if config.num_processes < 1:
        found.append(SettingProblem("num_processes", config.num_processes, "1 or more"))
    if config.rules is not None and not Path(config.rules).expanduser().is_file():
        found.append(SettingProblem("rules", config.rules, "a file of rules, or null for the project's"))
    return found


def _rules(config: PostprocessConfig) -> dict[int, LabelRule]:
    if config.rules is not None:
        return read_rules(Path(config.rules).expanduser())
    folders = folders_of(config.paths, config.project)
    if not folders.mask_labels.is_file():
        raise StoreError(
            f"rules: expected {folders.mask_labels}, found none; make the project with fran init, or give rules=<file>"
        )
    project = Project(config.project.title, folders)
    return read_rules(folders.mask_labels, project.output_names)


def _rows(results: Sequence[CleanResult]) -> list[tuple[object, ...]]:
    names = {value: name for result in results for value, name in result.names.items()}
    rows: list[tuple[object, ...]] = []
    for value, name in sorted(names.items()):
        changes = [result.changes[value] for result in results if value in result.changes]
        changed = sum(bool(c.removed or c.filled_vox) for c in changes)
        sums = (
            sum(c.removed for c in changes),
            sum(c.removed_vox for c in changes),
            sum(c.filled_vox for c in changes),
        )
        rows.append((value, name, changed, *sums))
    return rows


def main() -> None:
    """Entry of `fran postprocess`."""
    run_verb("postprocess", PostprocessConfig, postprocess, check)
