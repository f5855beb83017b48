"""Checks of a plan's values that its types cannot express; every problem is found in one pass."""

from __future__ import annotations

from collections.abc import Iterator

from fran.errors import SettingProblem, choices
from fran.plans.schema import MODE_ALIASES, MODES, Plan

_SPACING_LIMITS_MM = (0.05, 50.0)


def check_plan(plan: Plan) -> list[SettingProblem]:
    """Everything that is impossible about `plan`; an empty list when it can be run."""
    return [*_mode(plan), *_spacing(plan), *_patch(plan), *_labels(plan)]


def _mode(plan: Plan) -> Iterator[SettingProblem]:
    if plan.canonical_mode not in MODES:
        yield SettingProblem("mode", plan.mode, choices(plan.mode, [*MODES, *MODE_ALIASES]))


def _spacing(plan: Plan) -> Iterator[SettingProblem]:
    low, high = _SPACING_LIMITS_MM
    if len(plan.spacing) != 3:
        yield SettingProblem("spacing", plan.spacing, "three numbers in mm: x, y, z, for instance [0.8,0.8,1.5]")
    elif not all(low <= s <= high for s in plan.spacing):
        yield SettingProblem("spacing", plan.spacing, f"three numbers in mm, each from {low} to {high}")


def _patch(plan: Plan) -> Iterator[SettingProblem]:
    for key in ("patch_dim0", "patch_dim1"):
        value = getattr(plan, key)
        if not 1 <= value <= 1024:
            yield SettingProblem(key, value, "a number of voxels from 1 to 1024")


def _labels(plan: Plan) -> Iterator[SettingProblem]:
    if any(v < 1 for v in plan.fg_indices_exclude):
        yield SettingProblem("fg_indices_exclude", plan.fg_indices_exclude, "label values, each 1 or more")
    if plan.datasources is not None and not plan.datasources:
        yield SettingProblem("datasources", plan.datasources, "one name at least, or null for all of the project's")
