"""`fran plan list`: every plan on the search path, and what a project has of its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, FranError
from fran.plans.schema import Plan
from fran.workflows.composition import search_folders
from fran.workflows.entry import Job
from fran.workflows.plan_files import PLAN_KEYS, PlanFile, get_plan, lint, plan_names, stated
from fran.workflows.plan_status import stage_states
from fran.workflows.plan_text import short_path
from fran.workflows.plan_verbs import project_of, run_plan_verb
from fran.workflows.plans import source_chain, typed_plan
from fran.workflows.schema import PlansConfig
from fran.workflows.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from fran.projects.project import Project

COLUMNS = ("plan", "mode", "spacing mm", "patch", "parent", "datasources", "preprocessed", "file")


def plan_list(job: Job[PlansConfig]) -> None:
    """Print one row a plan."""
    project = project_of(job.config)
    entries = [_entry(name, job, project) for name in plan_names(search_folders())]
    if job.config.json:
        say_json(entries)
        return
    title = f"Plans; preprocessed in project {project.title}" if project else "Plans"
    show_table(title, COLUMNS, [_cells(entry) for entry in entries])
    if project is None:
        say(f"project {job.config.project.title} has not been made yet; choose another by project=<title>")


def _entry(name: str, job: Job[PlansConfig], project: Project | None) -> dict[str, Any]:
    folders = search_folders()
    file = get_plan(name, folders)
    entry: dict[str, Any] = {"plan": name, "file": file.path}
    try:
        if lint(name, folders):
            raise ConfigError(f"{len(lint(name, folders))} mistakes; fran plan show {name} names them")
        values = {key: s.value for key, s in stated(name, folders).items() if key in PLAN_KEYS}
        plan = typed_plan(values, job.plain)
        chain = source_chain(plan, job.plain)
    except FranError as error:
        return entry | {"error": str(error).partition("\n")[0]}
    return entry | _facts(plan, file) | {"preprocessed": _preprocessed(chain, project)}


def _facts(plan: Plan, file: PlanFile) -> dict[str, Any]:
    return {
        "mode": plan.mode,
        "spacing": plan.spacing,
        "patch_size": list(plan.patch_size),
        "parent": [parent for parent, _ in file.parents],
        "source_plan": plan.source_plan,
        "datasources": plan.datasources,
        "notes": plan.notes,
    }


def _preprocessed(chain: list[Plan], project: Project | None) -> str:
    """How far the plan's last stage is, in words."""
    if project is None:
        return ""
    try:
        states = stage_states(chain, project)
    except FranError as error:
        return _first_words(str(error))
    last = next((state for state in reversed(states) if not state.note), None)
    if last is None:  # a plan of another project's datasources
        return _first_words(states[0].note)
    done = f"{len(last.ready)} of {last.n_cases}"
    return done if last is states[-1] else f"{last.mode} {done}; no {states[-1].mode} in this version"


def _first_words(message: str) -> str:
    return message.partition(";")[0].partition("\n")[0]


def _cells(entry: dict[str, Any]) -> list[str]:
    file = short_path(Path(entry["file"]))
    if "error" in entry:
        return [entry["plan"], "", "", "", "", "", entry["error"], file]
    sources = ", ".join(entry["datasources"]) if entry["datasources"] else "all"
    spacing, patch = (" x ".join(f"{v:g}" for v in entry[key]) for key in ("spacing", "patch_size"))
    return [
        entry["plan"],
        entry["mode"],
        spacing,
        patch,
        ", ".join(entry["parent"]),
        sources,
        entry["preprocessed"],
        file,
    ]


def main() -> None:
    """Entry of `fran plan list`."""
    run_plan_verb(plan_list, ())
