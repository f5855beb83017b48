"""From a chain of plans to the stages that make the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fran.plans.schema import Plan

SHARED_KEYS = (
    "datasources",
    "lm_groups",
    "spacing",
    "use_fg_indices",
    "fg_indices_exclude",
    "remapping_source",
    "half_precision",
    "clip_hu",
)
"""Keys that the first stage reads or that every stage must agree on: the chosen plan decides for its whole chain."""

OWN_KEYS = ("plan_name", "notes", "source_plan", "mode", "plan_valid", "plan_test")
"""Keys that say what a plan is; a command line changes them in the chosen plan alone."""

ENDS = ("pbd", "sourcepbd", "whole")
"""Modes whose output is the network's input already: nothing can be cut from it."""


def data_stages(chain: Sequence[Plan]) -> list[Plan]:
    """The stages of a chain of plans, in the order in which they run, each as the plan it reads its parameters from.

    The first stage always brings the volumes to the plan's spacing. After it comes one stage for each plan of the
    chain whose mode is not ``source``. A plan of the same mode as the one before takes its place, for cropping twice
    in one way makes nothing new. ``sourcepbd`` cuts patches straight from the first stage.

    Args:
        chain: resolved plans, the root first and the chosen plan last.

    Returns:
        plans whose `mode` is one of ``source``, ``whole``, ``lbd``, ``rbd``, ``pbd``.

    Example:
        >>> root, crop = Plan(plan_name="a"), Plan(plan_name="b", mode="lbd", expand_by=10.0)
        >>> [stage.mode for stage in data_stages([root, crop, Plan(plan_name="c", mode="patch")])]
        ['source', 'lbd', 'pbd']
    """
    first = replace(chain[-1], mode="source")
    stages = [first]
    for plan in chain:
        mode = plan.canonical_mode
        if mode in ("source", "sourcepbd"):
            stages = [first]
        if mode == "source":
            continue
        mode = "pbd" if mode == "sourcepbd" else mode
        if stages[-1].mode == mode:
            stages.pop()
        stages.append(replace(plan, mode=mode))
    return stages
