"""Configuration files as text: the same values always give the same bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml

from fran.excel.plan_keys import Interpolated
from fran.plans.schema import Plan

_LIKE_A_NUMBER = re.compile(r"[-+]?[\d_.]+([eE][-+]?\d+)?")
_ORDER = [item.name for item in fields(Plan)]


class _Dumper(yaml.SafeDumper):
    """Flow style; texts that a YAML reader could take for numbers are quoted."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if _LIKE_A_NUMBER.fullmatch(value) else None if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", _literal(value), style=style)


def _interpolated(dumper: yaml.SafeDumper, value: Interpolated) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value))


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Interpolated, _interpolated)


def _literal(text: str) -> str:
    """A text that Hydra leaves as it is: no interpolation, and no ``???``, which means "missing"."""
    return "(???)" if text.strip() == "???" else text.replace("${", "\\${")


def flow(value: Any) -> str:
    """One line of yaml.

    Example:
        >>> flow([0.8, None, "a: b"]), flow({1: 0, 2: 1}), flow("12")
        ("[0.8, null, 'a: b']", '{1: 0, 2: 1}', "'12'")
    """
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def plan_file(name: str, values: Mapping[str, Any], parent: str | None, workbook: str) -> str:
    """A plan that states its own values and inherits the others."""
    lines = ["# @package _global_", f"# From {workbook}."]
    lines += _defaults([parent] if parent else [])
    lines.append(f"plan_name: {flow(name)}")
    lines += [f"{key}: {flow(values[key])}" for key in _ORDER if key in values and key != "plan_name"]
    return _joined(lines)


def group_file(values: Mapping[str, Any], parent: str, workbook: str, says: str) -> str:
    """An option of a group that inherits from a shipped one; dotted keys become blocks."""
    return _joined([f"# {says} From {workbook}.", *_defaults([parent]), *_blocks(_nested(values))])


def preset_file(choices: Mapping[str, str], values: Mapping[str, Any], workbook: str) -> str:
    """A preset: one option of each group, and keys at the root."""
    lines = ["# @package _global_", f"# What {workbook} trained, as a whole."]
    if choices:
        lines += ["defaults:", *(f"  - override /{group}: {option}" for group, option in choices.items())]
    return _joined([*lines, *_blocks(values)])


def _defaults(parents: Sequence[str]) -> list[str]:
    return ["defaults:", *(f"  - {parent}" for parent in parents), "  - _self_"] if parents else []


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        place = nested
        *groups, last = key.split(".")
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return nested


def _blocks(values: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict) and value and indent == "" and all(isinstance(k, str) for k in value):
            lines += [f"{key}:", *_blocks(value, "  ")]
        else:
            lines.append(f"{indent}{key}: {flow(value)}")
    return lines


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
