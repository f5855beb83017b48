"""`fran plan show`: a plan's values as composed, and where each is stated."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fran.errors import SettingsFailed
from fran.plans.docs import meanings
from fran.plans.schema import UNSET
from fran.workflows.entry import Job, problems
from fran.workflows.plan_text import short_path
from fran.workflows.plan_verbs import run_plan_verb
from fran.workflows.plans import plan_of
from fran.workflows.provenance import Origin
from fran.workflows.schema import PlansConfig
from fran.workflows.terminal import say, say_json, show_table

COLUMNS = ("key", "value", "stated in")


def plan_show(job: Job[PlansConfig]) -> None:
    """Print one row a key: first what is stated, then what is left at its default; then what cannot work."""
    values = asdict(plan_of(job.config))
    origins = {key: job.origin(key) for key in values}
    found = problems(job)
    if job.config.json:
        listed = {key: {"value": value, "origin": str(origins[key])} for key, value in values.items()}
        say_json({"plan": job.choices["plan"], "keys": listed, "problems": [vars(p) for p in found]})
        return
    stated = [key for key in meanings() if origins[key] != Origin()]
    rows = [[key, text(values[key]), where(origins[key])] for key in stated]
    show_table(f"Plan {job.choices['plan']}", COLUMNS, rows)
    left = [f"{key} {text(values[key])}" for key in values if key not in stated]
    say(f"by default: {', '.join(left)}")
    if found:
        say("")
        say(str(SettingsFailed(found)))


def text(value: object) -> str:
    """A value as a command line would state it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if value == UNSET:
        return "not stated"
    if isinstance(value, str) and value.startswith("/"):
        return short_path(Path(value))
    return str(value) if value != "" else "''"


def where(origin: Origin) -> str:
    """`origin` with a short path."""
    return f"{short_path(origin.path)}:{origin.line}" if origin.path else str(origin)


def main() -> None:
    """Entry of `fran plan show`."""
    run_plan_verb(plan_show, ("plan",))
