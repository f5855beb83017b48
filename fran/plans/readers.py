"""Which steps read a key of a plan, told from what the schema says of it."""

from __future__ import annotations

from dataclasses import fields

from fran.plans.schema import MODE_ALIASES, Plan

_SAID = {field.name: field.metadata["read_by"] for field in fields(Plan)}


def readers(key: str, mode: str) -> tuple[str, ...]:
    """Steps that read a key in a plan of this mode: verbs such as ``preprocess``; none for what is not a plan's key.

    Example:
        >>> readers("patch_dim0", "source"), readers("patch_dim0", "patch")
        (('train', 'infer'), ('train', 'infer', 'preprocess'))
    """
    found: list[str] = []
    for part in _SAID.get(key, "").split(";"):
        steps, _, modes = part.partition(" in mode")
        if not modes or MODE_ALIASES.get(mode, mode) in modes.removeprefix("s").replace(",", " ").split():
            found += [step.strip() for step in steps.split(",") if step.strip()]
    return tuple(found)
