"""Checks of a plan's values that its types cannot express; every problem is found in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fran.errors import SettingProblem, choices
from fran.plans.chain import ENDS
from fran.plans.schema import MODE_ALIASES, MODES, UNSET, Plan

_SPACING_LIMITS_MM = (0.05, 50.0)
_PATCH_LIMITS_VOX = (1, 1024)
_MAX_LABEL = 65535
_HU_LIMITS = (-32768, 32767)
_ON_ONE_GRID = ("spacing", "lm_groups", "classes", "remapping_source", "remapping_lbd", "remapping_whole")


def check_plan(plan: Plan) -> list[SettingProblem]:
    """Everything that is impossible about `plan` by itself; an empty list when it can be run."""
    return [
        *_mode(plan),
        *_spacing(plan),
        *_patch(plan),
        *_numbers(plan),
        *_sources(plan),
        *_labels(plan),
        *_imported(plan),
    ]


def check_chain(chain: Sequence[Plan]) -> list[SettingProblem]:
    """What is impossible about a plan on top of the plans that its data come from (the root first)."""
    plan = chain[-1]
    if len(chain) < 2 or plan.canonical_mode in ("source", "sourcepbd"):
        return []
    parent = chain[-2]
    if parent.canonical_mode in ENDS and parent.canonical_mode != plan.canonical_mode:
        expected = (
            f"a plan whose volumes mode {plan.mode} can start from; {parent.plan_name} has mode {parent.mode}, whose "
            "output goes to the network as it is. Choose a plan of mode source, lbd or rbd"
        )
        return [SettingProblem("source_plan", plan.source_plan, expected)]
    return []


def check_comparable(plan: Plan, key: str, other: Plan) -> list[SettingProblem]:
    """Whether a network of `plan` can be validated or tested on the data of `other`, named by `key`."""
    found = []
    for name in _ON_ONE_GRID:
        mine, theirs = getattr(plan, name), getattr(other, name)
        if mine != theirs:
            expected = f"a plan with this one's {name} ({mine}); {other.plan_name} has {theirs}"
            found.append(SettingProblem(key, other.plan_name, expected))
    return found


def _mode(plan: Plan) -> Iterator[SettingProblem]:
    if plan.canonical_mode not in MODES:
        yield SettingProblem("mode", plan.mode, choices(plan.mode, [*MODES, *MODE_ALIASES]))
    if plan.canonical_mode == "rbd" and plan.localiser is None and plan.imported_folder is None:
        expected = f"the run, or the folder of label maps, that says where mode {plan.mode} cuts; or an imported_folder"
        yield SettingProblem("localiser", None, expected)


def _spacing(plan: Plan) -> Iterator[SettingProblem]:
    low, high = _SPACING_LIMITS_MM
    if len(plan.spacing) != 3:
        near = f", for instance {_three(plan.spacing)}" if plan.spacing else ", for instance [0.8,0.8,1.5]"
        yield SettingProblem("spacing", plan.spacing, f"three numbers in mm: x, y, z{near}")
    elif not all(low <= s <= high for s in plan.spacing):
        yield SettingProblem("spacing", plan.spacing, f"three numbers in mm, each from {low} to {high}")


def _three(given: Sequence[float]) -> str:
    x, y, z = ([*given] + [given[-1]] * 3)[:3] if len(given) != 2 else (given[0], given[0], given[1])
    return f"[{x},{y},{z}]"


def _patch(plan: Plan) -> Iterator[SettingProblem]:
    low, high = _PATCH_LIMITS_VOX
    for key in ("patch_dim0", "patch_dim1"):
        if not low <= getattr(plan, key) <= high:
            yield SettingProblem(key, getattr(plan, key), f"a number of voxels from {low} to {high}")
    if not 0 <= plan.patch_overlap < 1:
        percent = plan.patch_overlap / 100
        near = f"; {percent:g} for {plan.patch_overlap:g} per cent" if 0 < percent < 1 else ""
        yield SettingProblem("patch_overlap", plan.patch_overlap, f"a share from 0 up to, but not, 1{near}")


def _numbers(plan: Plan) -> Iterator[SettingProblem]:
    if not (math.isfinite(plan.expand_by) and 0 <= plan.expand_by <= 1000):
        yield SettingProblem("expand_by", plan.expand_by, "a margin in mm, from 0 to 1000")
    if plan.samples_per_file < 1:
        yield SettingProblem("samples_per_file", plan.samples_per_file, "1 crop or more")
    if plan.clip_hu is not None and not _is_window(plan.clip_hu):
        low, high = _HU_LIMITS
        expected = f"two whole numbers from {low} to {high}, the lower one first, such as [-200,400]; or null"
        yield SettingProblem("clip_hu", plan.clip_hu, expected)


def _is_window(given: Sequence[int]) -> bool:
    return len(given) == 2 and _HU_LIMITS[0] <= given[0] < given[1] <= _HU_LIMITS[1]


def _sources(plan: Plan) -> Iterator[SettingProblem]:
    names = plan.datasources
    if names is not None and not names:
        yield SettingProblem("datasources", names, "one name at least, or null for all of the project's")
    for key, listed in (("datasources", names or []), ("lm_groups", [n for g in plan.lm_groups or [] for n in g])):
        twice = sorted({name for name in listed if listed.count(name) > 1})
        if twice:
            yield SettingProblem(key, listed, f"each name once; {', '.join(twice)} is there more than once")
    if plan.lm_groups is not None and any(not group for group in plan.lm_groups):
        yield SettingProblem("lm_groups", plan.lm_groups, "groups with a name each at least, or null")
    if names and plan.lm_groups:
        grouped = {name for group in plan.lm_groups for name in group}
        missing = [name for name in names if name not in grouped]
        if missing:
            expected = f"every datasource of the plan in a group; {', '.join(missing)} is in none"
            yield SettingProblem("lm_groups", plan.lm_groups, expected)


def _labels(plan: Plan) -> Iterator[SettingProblem]:
    if any(not 1 <= v <= _MAX_LABEL for v in plan.fg_indices_exclude):
        yield SettingProblem(
            "fg_indices_exclude", plan.fg_indices_exclude, f"label values, each from 1 to {_MAX_LABEL}"
        )
    if plan.vip_label is not None and not 1 <= plan.vip_label <= _MAX_LABEL:
        yield SettingProblem("vip_label", plan.vip_label, f"a label value from 1 to {_MAX_LABEL}, or null")


def _imported(plan: Plan) -> Iterator[SettingProblem]:
    if plan.imported_folder is None:
        if plan.merge_imported_labels:
            yield SettingProblem("merge_imported_labels", True, "false, or the folder to merge from as imported_folder")
        return
    if plan.remapping_imported == UNSET:
        expected = "to be stated together with imported_folder: a mapping, or null to keep the imported values"
        yield SettingProblem("remapping_imported", "nothing", expected)
