"""Checks that need more than the plan: the network it trains, and the project's database where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, SettingProblem, choices
from fran.plans.checks import check_plan
from fran.plans.schema import Plan

if TYPE_CHECKING:
    from fran.projects.project import Project


def network_problems(model: Mapping[str, Any], plan: Plan) -> list[SettingProblem]:
    """Whether the network can be built for the plan's patch, tried without weights or data.

    Nothing is tried where spacing or patch are impossible by themselves.
    """
    if any(p.key in ("spacing", "patch_dim0", "patch_dim1") for p in check_plan(plan)):
        return []
    import torch

    from fran.networks.build import build_network, fill_spec, nearest_patch_sizes

    try:
        spec = fill_spec(model, 1, 2, plan.patch_size, plan.spacing_mm)
        nearest = nearest_patch_sizes(spec, plan.patch_size)
        if nearest is not None:
            return [_patch(plan, model, nearest)]
        with torch.device("meta"):
            build_network(spec)
    except ConfigError as error:
        return [_network(plan, model, str(error))]
    return []


def _patch(plan: Plan, model: Mapping[str, Any], nearest: list[tuple[int, int, int]]) -> SettingProblem:
    valid = [size for size in nearest if size[0] == size[1]]
    depth_alone = bool(valid) and all(size[0] == plan.patch_dim0 for size in valid)
    listed = " or ".join(f"patch_dim0={x} patch_dim1={z}" for x, _, z in valid) or "multiples of 32"
    key = "patch_dim1" if depth_alone else "patch_dim0"
    expected = f"a patch that the strides of {model['_target_']} divide; nearest: {listed}"
    return SettingProblem(key, f"{getattr(plan, key)} in a patch of {list(plan.patch_size)}", expected)


def _network(plan: Plan, model: Mapping[str, Any], message: str) -> SettingProblem:
    """A network's refusal, whose message begins with the key at fault."""
    key, _, expected = message.partition(": ")
    target = model.get("_target_")
    expected = expected.replace(f"{target} has no such argument", f"an argument of {target}")
    if key.startswith("model."):
        return SettingProblem(key, model.get(key.removeprefix("model.")), expected.removeprefix("expected "))
    if key == "patch_size":
        return SettingProblem("patch_dim0", f"{plan.patch_dim0} in a patch of {list(plan.patch_size)}", expected)
    return SettingProblem("model", target, f"a network that can be built; {message}")


def project_problems(project: Project, plan: Plan) -> list[SettingProblem]:
    """What a plan asks of a project that the project does not have; nothing where it has not been made yet."""
    if not project.exists:
        return []
    return [*_datasources(project, plan)]


def _datasources(project: Project, plan: Plan) -> Iterator[SettingProblem]:
    known = project.datasources
    grouped = [name for group in plan.lm_groups or [] for name in group]
    for key, names in (("datasources", plan.datasources or []), ("lm_groups", grouped)):
        for name in dict.fromkeys(names):
            if name not in known:
                expected = f"datasources of project {project.project_title}; {choices(name, known)}; found '{name}'"
                yield SettingProblem(key, getattr(plan, key), expected)
