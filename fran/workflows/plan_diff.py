"""`fran plan diff`: where two plans differ, and which stages of the second would have to be made."""

from __future__ import annotations

from dataclasses import asdict

from fran.errors import ConfigError
from fran.workflows.entry import Job, compose_job, problems
from fran.workflows.plan_show import text, where
from fran.workflows.plan_status import StageState, stage_states
from fran.workflows.plan_text import size_text, stage_json, time_text
from fran.workflows.plan_verbs import project_of, run_plan_verb
from fran.workflows.plans import plan_chain, plan_of
from fran.workflows.schema import PlansConfig
from fran.workflows.terminal import say, say_json, show_table

STAGES = ("stage", "data", "key", "to make", "disk", "time")
OWN = ("plan=", "against=", "project=", "project.", "paths", "json=", "preprocess.", "+project")


def plan_diff(job: Job[PlansConfig]) -> None:
    """Print the keys that differ with both values and places, then the second plan's stages.

    With one plan and overrides, the plan as it is in its files is compared with the overridden one.
    """
    first, second = pair(job)
    project = project_of(job.config)
    states = [_states(one) for one in (first, second)] if project is not None else []
    rows = differences(first, second)
    names = [_title(one) for one in (first, second)]
    if job.config.json:
        listed = [dict(zip(("key", *names, "stated", "stated_in"), row, strict=True)) for row in rows]
        say_json({"differences": listed, "stages": [stage_json(state) for state in states[1]] if states else []})
        return
    show_table(f"{names[0]} and {names[1]}", ("key", *names, "stated in", "and in"), rows)
    if not rows:
        say("no value differs")
    if states:
        shared = {state.key for state in states[0] if state.key}
        show_table(f"Stages of {names[1]}", STAGES, [_stage(state, shared, names[0]) for state in states[1]])
    else:
        say(f"project {job.config.project.title} has not been made yet; project=<title> shows what would be made anew")


def pair(job: Job[PlansConfig]) -> tuple[Job[PlansConfig], Job[PlansConfig]]:
    """The two jobs that are compared.

    Raises:
        ConfigError: one plan alone, and nothing that changes it.
    """
    if job.config.against is not None:
        others = [o for o in job.overrides if not o.startswith(("plan=", "against="))]
        return job, compose_job("plans", PlansConfig, [*others, f"plan={job.config.against}"])
    kept = [o for o in job.overrides if o.startswith(OWN)]
    if len(kept) == len(job.overrides):
        raise ConfigError("against: expected two plans, or one and settings: fran plan diff plan1 'spacing=[1,1,1]'")
    return compose_job("plans", PlansConfig, kept), job


def _title(job: Job[PlansConfig]) -> str:
    changed = [o for o in job.overrides if not o.startswith(OWN)]
    return " ".join([job.choices["plan"], *changed])


def differences(first: Job[PlansConfig], second: Job[PlansConfig]) -> list[list[str]]:
    """Rows of key, both values, and where each is stated; names and notes are left out."""
    mine, theirs = (asdict(plan_of(one.config)) for one in (first, second))
    keys = [key for key in mine if mine[key] != theirs[key] and key not in ("plan_name", "notes")]
    return [
        [key, text(mine[key]), text(theirs[key]), where(first.origin(key)), where(second.origin(key))] for key in keys
    ]


def _states(job: Job[PlansConfig]) -> list[StageState]:
    """Stages with their cases; those of a plan that does not fit the project without."""
    project = project_of(job.config) if not problems(job) else None
    return stage_states(plan_chain(job), project, job.config.preprocess.num_processes)


def _stage(state: StageState, shared: set[str], other: str) -> list[str]:
    if state.note:
        return [state.mode, state.note, "", "", "", ""]
    data = f"as of {other}" if state.key in shared else "its own"
    total = state.n_cases
    if not state.todo:
        return [state.mode, data, state.key[:8], f"0 of {total}" if total else "", "", ""]
    cost = [size_text(state.todo_bytes), time_text(state.todo_seconds)]
    return [state.mode, data, state.key[:8], f"{len(state.todo)} of {total}", *cost]


def main() -> None:
    """Entry of `fran plan diff`."""
    run_plan_verb(plan_diff, ("plan", "against"))
