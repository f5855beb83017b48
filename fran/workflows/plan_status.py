"""What a plan's stages are, what of them is there already, and what the rest will cost. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError
from fran.plans.chain import data_stages
from fran.plans.schema import Plan
from fran.workflows.plan_data import PlanData, plan_data, raw_jobs

if TYPE_CHECKING:
    from fran.preprocessing.estimate import RawCase
    from fran.preprocessing.stages.stage import Job
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
        linkable: ids of cases whose file another folder of the same stage holds: linked, which costs nothing.
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
    linkable: tuple[str, ...] = ()
    todo: tuple[str, ...] = ()
    todo_bytes: int = 0
    todo_seconds: float = 0.0
    note: str = ""

    @property
    def n_cases(self) -> int:
        """Of the project that the stage takes."""
        return len(self.ready) + len(self.linkable) + len(self.todo)


def stage_states(chain: Sequence[Plan], project: Project | None, num_processes: int = 1) -> list[StageState]:
    """The stages of a chain of plans, with what a project has of them.

    Args:
        chain: resolved plans, the root first.
        project: None where it has not been made yet.
        num_processes: that the stages will run with; -1 takes all cores.
    """
    from fran.preprocessing.memory import usable_cores

    plans = data_stages(chain)
    num_processes = num_processes if num_processes > 0 else usable_cores()
    if project is None or not project.exists:
        return _without_project(plans)
    try:
        data = plan_data(project, chain)
    except ConfigError as error:
        return [StageState(plan.mode, plan, note=str(error)) for plan in plans]
    states: list[StageState] = []
    for number, plan in enumerate(plans):
        ready, linkable = _there(data, number, states[-1].ready if states else ())
        states.append(_state(data, number, plan, ready, linkable, num_processes))
    return states


def _without_project(plans: Sequence[Plan]) -> list[StageState]:
    from fran.preprocessing.plan_stages import Context, stages_of

    states = []
    for number, plan in enumerate(plans, start=1):
        try:
            stage = stages_of(plans[:number], Context(tuple(plan.datasources or ())))[-1]
            states.append(StageState(plan.mode, plan, stage.to_dict(), stage.key()))
        except ConfigError as error:
            states.append(StageState(plan.mode, plan, note=str(error)))
    return states


def _there(data: PlanData, number: int, before: Collection[str]) -> tuple[set[str], set[str]]:
    """Cases of a stage whose files are up to date in its folder, and in another; only those the stage before has."""
    from fran.preprocessing.guides import Digests
    from fran.preprocessing.pipeline import child_jobs
    from fran.preprocessing.run import known_cases
    from fran.preprocessing.sharing import folders_beside, listed_keys
    from fran.preprocessing.work import is_current

    link, cases = data.links[number], raw_jobs(data.rows)
    jobs: Sequence[Job] = cases
    if number:
        made = [case for case in cases if case.case_id in set(before)]
        jobs = child_jobs(made, data.links[number - 1], link, Digests.load(link.folder)) if made else []
    keys = {job.case_id: link.stage.case_key(job) for job in jobs if job.has_digests}
    known = known_cases(link.folder, link.stage)
    ready = {case_id for case_id, key in keys.items() if is_current(known.get(case_id, {}), key, link.folder)}
    elsewhere = listed_keys(folders_beside(link.folder), link.stage.name)
    return ready, {case_id for case_id, key in keys.items() if key in elsewhere} - ready


def _state(
    data: PlanData, number: int, plan: Plan, ready: set[str], linkable: set[str], num_processes: int
) -> StageState:
    from fran.preprocessing.run import LOG_NAME

    link = data.links[number]
    todo = [row for row in data.rows if row.case_id not in ready | linkable]
    size, seconds = _cost(todo, data.rows, plan, sorted(link.folder.parent.glob(f"*/{LOG_NAME}")), num_processes)
    return StageState(
        *(plan.mode, plan, link.stage.to_dict(), link.stage.key(), link.folder),
        ready=tuple(sorted(ready)),
        linkable=tuple(sorted(linkable)),
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
    shape = plan.patch_size if plan.mode == "whole" else None
    overlap = plan.patch_overlap if plan.mode == "pbd" else 0.0
    size = sum(estimated_bytes(case, plan.spacing, plan.use_fg_indices, shape, overlap) for case in raw)
    return size, estimated_seconds(raw, rate, num_processes)


def _raw(row: CaseRow) -> RawCase:
    from fran.preprocessing.estimate import RawCase

    return RawCase(row.case_id, row.size, row.spacing_mm, row.labels)
