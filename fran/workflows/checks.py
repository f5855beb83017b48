"""Checks that need more than the plan: the network it trains, and the project's database where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, SettingProblem, SettingsFailed, choices
from fran.plans.chain import data_stages
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


def project_problems(project: Project, plan: Plan, chain: Sequence[Plan], fold: object = None) -> list[SettingProblem]:
    """What a plan asks of its project, or of the label table, that is not there.

    Args:
        project: may not have been made yet; then what can be told without it is.
        plan: resolved.
        chain: the plans its data come from, the root first.
        fold: of a training; None for other work.
    """
    if not project.exists or not len(project):
        return _spellings(plan)
    found = [*_datasources(project, plan), *_fold(project, fold)]
    if any(p.key == "datasources" for p in found):
        return found
    found += _labels(project, plan, chain)
    return found if any(p.key == "imported_folder" for p in found) else [*found, *_imported(project, plan, chain)]


def _datasources(project: Project, plan: Plan) -> Iterator[SettingProblem]:
    known = project.datasources
    grouped = [name for group in plan.lm_groups or [] for name in group]
    for key, names in (("datasources", plan.datasources or []), ("lm_groups", grouped)):
        for name in dict.fromkeys(names):
            if name not in known:
                expected = f"datasources of project {project.project_title}; {choices(name, known)}; found '{name}'"
                expected += "; datasources=null takes all of the project" if key == "datasources" else ""
                yield SettingProblem(key, getattr(plan, key), expected)


def _fold(project: Project, fold: object) -> Iterator[SettingProblem]:
    folds = sorted({case.fold for case in project.training_cases() if case.fold is not None})
    if len(folds) > 1 and isinstance(fold, int) and fold not in folds:
        expected = f"the number of a fold, {folds[0]} to {folds[-1]}, all, or a datasource to validate with"
        yield SettingProblem("fold", fold, expected)
    if isinstance(fold, str) and fold not in ("all", *project.datasources):
        yield SettingProblem(
            "fold", fold, f"the number of a fold, all, or a datasource; {choices(fold, project.datasources)}"
        )


def _labels(project: Project, plan: Plan, chain: Sequence[Plan]) -> list[SettingProblem]:
    from fran.workflows.label_flow import label_flow

    try:
        scheme = label_flow(project, plan, data_stages(chain)).scheme
    except SettingsFailed as error:
        return list(error.problems)
    except ConfigError as error:
        key, _, expected = str(error).partition(": ")
        return [SettingProblem(key, getattr(plan, key, "this plan"), expected.removeprefix("expected "))]
    if plan.vip_label is None or plan.vip_label in scheme.values:
        return []
    known = ", ".join(f"{value} {name}" for value, name in scheme.names.items())
    return [SettingProblem("vip_label", plan.vip_label, f"a label of the network's: {known}")]


def _imported(project: Project, plan: Plan, chain: Sequence[Plan]) -> Iterator[SettingProblem]:
    """Folders of imported label maps that are not there, as those of a plan that was made on another machine."""
    from fran.preprocessing.guides import guide_files
    from fran.workflows.plan_data import imported_folders

    cut = next((stage for stage in reversed(data_stages(chain)) if stage.mode in ("lbd", "rbd")), None)
    if cut is None or cut.imported_folder is None:
        return
    found = imported_folders(project, cut.imported_folder, plan.datasources or project.datasources)
    for folder in dict.fromkeys(found.values()):
        try:
            guide_files(folder)
        except ConfigError as error:
            expected = f"a folder with label maps on this machine ({error})"
            yield SettingProblem("imported_folder", str(folder), expected)


def _spellings(plan: Plan) -> list[SettingProblem]:
    """Remappings and the like that cannot be read, where the datasources may not be known yet."""
    found: list[SettingProblem] = []
    rest = replace(plan)
    for key in ("remapping_source", "remapping_lbd", "remapping_whole", "remapping_imported", "remapping_train"):
        # one key at a time: as long as datasources are unknown, each list may be as long as it likes
        value = getattr(plan, key)
        one = Plan(mode="whole" if key == "remapping_whole" else "lbd")
        setattr(one, key, value)
        found += _refused(one, _names(plan, value))
        setattr(rest, key, None)
    return found + _refused(rest, _names(plan, plan.imported_folder))


def _names(plan: Plan, value: Any) -> list[str]:
    if plan.datasources:
        return plan.datasources
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return [str(key) for key in value]
    return (
        [f"datasource {n}" for n in range(1, len(value) + 1)] if isinstance(value, list) and value else ["datasource"]
    )


def _refused(plan: Plan, datasources: list[str]) -> list[SettingProblem]:
    from fran.workflows.label_flow import label_rules

    try:
        label_rules(plan, datasources)
    except SettingsFailed as error:
        return list(error.problems)
    return []
