"""Plans as composed: the chain that a plan's data come from, and what is impossible about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fran.errors import ConfigError, SettingProblem, choices
from fran.plans.chain import OWN_KEYS, SHARED_KEYS
from fran.plans.checks import check_chain, check_comparable, check_plan
from fran.plans.schema import Plan
from fran.workflows.checks import project_problems
from fran.workflows.composition import search_folders
from fran.workflows.explain import explain
from fran.workflows.plan_files import PLAN_KEYS, Stated, find_plan, full_name, plan_names, stated
from fran.workflows.projects import folders_of

if TYPE_CHECKING:
    from fran.workflows.entry import Job


def plan_of(config: Plan) -> Plan:
    """The plan alone, of a configuration that has more."""
    return Plan(**{f.name: getattr(config, f.name) for f in fields(Plan)})


def plan_chain(job: Job[Any]) -> list[Plan]:
    """The plans that a job's data come from, the root first and the job's own plan last.

    Ancestors are followed by `source_plan`. What the command line (or a preset) changes acts on them too:

    - the keys that all stages share (`fran.plans.chain.SHARED_KEYS`, such as `spacing`): the job's value holds in the
      whole chain, wherever it comes from;
    - mode and names (`fran.plans.chain.OWN_KEYS`): in the job's plan alone;
    - any other key: as if the line that the value comes from had been edited, so in the job's plan and in those
      ancestors that have the value from the same line, or by default as it has.

    Raises:
        ConfigError: an ancestor does not exist, is its own ancestor, or has values of a wrong type.
    """
    leaf = plan_of(job.config)
    name = str(job.choices["plan"])
    chain = [leaf]
    files = stated(name, search_folders())
    seen = [name]
    while chain[0].source_plan is not None:
        source = full_name(chain[0].source_plan)
        if source in seen:
            raise ConfigError(f"source_plan: {' -> '.join([*seen, source])} never ends")
        seen.append(source)
        own = stated(source, search_folders())
        chain.insert(0, _in_chain_of(leaf, derived_plan(job, source, files, own)))
    return chain


def source_chain(plan: Plan, context: Mapping[str, Any]) -> list[Plan]:
    """The chain of a plan as its files state it, without the overrides of a command line; see `plan_chain`.

    Raises:
        ConfigError: an ancestor does not exist, is its own ancestor, or has values of a wrong type.
    """
    chain, seen = [plan], [plan.plan_name]
    while chain[0].source_plan is not None:
        name = full_name(chain[0].source_plan)
        if name in seen:
            raise ConfigError(f"source_plan: {' -> '.join([*seen, name])} never ends")
        seen.append(name)
        values = {key: s.value for key, s in stated(name, search_folders()).items() if key in PLAN_KEYS}
        chain.insert(0, _in_chain_of(plan, typed_plan(values, context)))
    return chain


def _in_chain_of(leaf: Plan, ancestor: Plan) -> Plan:
    return replace(ancestor, **{key: getattr(leaf, key) for key in SHARED_KEYS})


def derived_plan(
    job: Job[Any], name: str, files: Mapping[str, Stated] | None = None, own: Mapping[str, Stated] | None = None
) -> Plan:
    """Another plan under the job's overrides; see `plan_chain` for how they act."""
    folders = search_folders()
    files = stated(str(job.choices["plan"]), folders) if files is None else files
    own = stated(name, folders) if own is None else own
    values = {key: s.value for key, s in own.items() if key in PLAN_KEYS}
    for key in changed_keys(job, files) - set(OWN_KEYS):
        if _place(files.get(key)) == _place(own.get(key)):
            values[key] = getattr(job.config, key)
    return typed_plan(values, job.plain)


def _place(statement: Stated | None) -> tuple[Path, int] | None:
    return None if statement is None else (statement.path, statement.line)


def changed_keys(job: Job[Any], files: Mapping[str, Stated]) -> set[str]:
    """Plan keys that something stronger than the plan's files states: the command line, a preset, a project's file."""
    found = set()
    for key in PLAN_KEYS:
        place = job.origin(key)
        if _place(files.get(key)) != (
            None if place.path is None and place.override is None else (place.path, place.line)
        ):
            found.add(key)
    return found


def typed_plan(values: Mapping[str, Any], context: Mapping[str, Any]) -> Plan:
    """A plan from plain values; interpolations among them are resolved in `context`.

    Raises:
        ConfigError: an unknown key, or a value of a wrong type.
    """
    around = {key: value for key, value in context.items() if key not in PLAN_KEYS}
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create({**around, **values}), resolve=True)
        typed = OmegaConf.merge(OmegaConf.structured(Plan), {key: resolved[key] for key in values})
        plan: Plan = OmegaConf.to_object(typed)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    return plan


def plan_problems(job: Job[Any]) -> list[SettingProblem]:
    """Everything that is impossible about a job's plan, for its project too where that has been made already."""
    plan = plan_of(job.config)
    found = [*check_plan(plan), *_source_plan_override(job, plan), *_other_plans(job, plan)]
    if any(p.key in ("source_plan", "plan_valid", "plan_test") for p in found):
        return found
    chain = plan_chain(job)
    return [*found, *check_chain(chain), *_of_project(job, plan, chain)]


def _other_plans(job: Job[Any], plan: Plan) -> Iterator[SettingProblem]:
    """Plans that validate and test: they exist, and their data are comparable."""
    folders = search_folders()
    for key in ("plan_valid", "plan_test"):
        name = getattr(plan, key)
        if name is not None and find_plan(name, folders) is None:
            yield SettingProblem(key, name, f"null or a plan; {choices(name, plan_names(folders))}")
        elif name is not None:
            yield from check_comparable(plan, key, derived_plan(job, name))


def _of_project(job: Job[Any], plan: Plan, chain: list[Plan]) -> list[SettingProblem]:
    from fran.projects.project import Project

    config = job.config
    project = Project(config.project.title, folders_of(config.paths, config.project))
    return project_problems(project, plan, chain, getattr(config, "fold", None))


def _source_plan_override(job: Job[Any], plan: Plan) -> Iterator[SettingProblem]:
    if job.origin("source_plan").override is not None:
        inherited = stated(str(job.choices["plan"]), search_folders()).get("source_plan")
        yield SettingProblem(
            "source_plan",
            plan.source_plan,
            f"what the plan's file states ({inherited.value if inherited else 'nothing'}): values are inherited "
            f"through the file's defaults list; write a plan file with defaults: [{plan.source_plan}, _self_]",
        )
