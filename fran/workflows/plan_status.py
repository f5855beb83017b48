"""What a plan's stages are, what of them is there already, and what the rest will cost. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, StoreError
from fran.plans.chain import data_stages
from fran.plans.schema import Plan

if TYPE_CHECKING:
    from fran.preprocessing.estimate import RawCase
    from fran.projects.database import CaseRow
    from fran.projects.project import Project


@dataclass(frozen=True)
class StageState:
    """One stage of a plan's data.

    Attributes:
        mode: of the stage.
        plan: the plan that it takes its parameters from.
        params: what it reads from that plan; empty for a mode that this version cannot make.
        key: content address of the stage.
        folder: where its case files go; None without a project.
        ready: ids of cases whose file is there and up to date.
        todo: ids of the others.
        todo_bytes: what those will take on disk, estimated.
        todo_seconds: how long they will take, estimated.
        note: why the stage cannot be made, where it cannot.
    """

    mode: str
    plan: Plan
    params: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    folder: Path | None = None
    ready: tuple[str, ...] = ()
    todo: tuple[str, ...] = ()
    todo_bytes: int = 0
    todo_seconds: float = 0.0
    note: str = ""


def stage_states(chain: Sequence[Plan], project: Project | None, num_processes: int = 1) -> list[StageState]:
    """The stages of a chain of plans, with what a project has of them.

    Args:
        chain: resolved plans, the root first.
        project: None where it has not been made yet.
        num_processes: that the stages will run with.
    """
    return [_state(stage, project, num_processes) for stage in data_stages(chain)]


def _state(plan: Plan, project: Project | None, num_processes: int) -> StageState:
    from fran.io.manifest import Manifest
    from fran.preprocessing.run import LOG_NAME
    from fran.preprocessing.work import is_current
    from fran.workflows.preprocess import case_jobs, cases_of, plan_folder, stage_params

    try:
        params = stage_params(plan)
    except ConfigError as error:
        return StageState(plan.mode, plan, note=str(error).partition(": ")[2])
    known = StageState(plan.mode, plan, params.to_dict(), params.key())
    if project is None or not project.exists:
        return known
    rows = cases_of(project, plan)
    folder = plan_folder(project, plan)
    try:
        entries = Manifest.load(folder).cases
    except StoreError:
        entries = {}
    jobs = case_jobs(project, plan)
    ready = {job.case_id for job in jobs if is_current(entries.get(job.case_id), params.case_key(job), folder)}
    todo = [row for row in rows if row.case_id not in ready]
    size, seconds = _cost(todo, rows, plan, sorted(folder.parent.glob(f"*/{LOG_NAME}")), num_processes)
    return StageState(
        *(plan.mode, plan, params.to_dict(), params.key(), folder),
        ready=tuple(sorted(ready)),
        todo=tuple(row.case_id for row in todo),
        todo_bytes=size,
        todo_seconds=seconds,
    )


def _cost(
    todo: Sequence[CaseRow], rows: Sequence[CaseRow], plan: Plan, logs: Sequence[Path], num_processes: int
) -> tuple[int, float]:
    from fran.preprocessing.estimate import estimated_bytes, estimated_seconds, measured_rate

    raw = [_raw(row) for row in todo]
    rate = measured_rate(logs, [_raw(row) for row in rows])
    size = sum(estimated_bytes(case, plan.spacing, plan.use_fg_indices) for case in raw)
    return size, estimated_seconds(raw, rate, num_processes)


def _raw(row: CaseRow) -> RawCase:
    from fran.preprocessing.estimate import RawCase

    return RawCase(row.case_id, row.size, row.spacing_mm, row.labels)
