"""The table of a plan's keys for docs/plans.md, made from the schema: ``python -m fran.plans.docs docs/plans.md``."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from fran.io.made_parts import renew, with_made
from fran.plans.chain import OWN_KEYS, SHARED_KEYS
from fran.plans.schema import UNSET, Plan

BEGIN = "<!-- made by `python -m fran.plans.docs docs/plans.md`; edit fran/plans/schema.py instead -->"

_TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true, false",
    "list[float]": "list of numbers",
    "list[int]": "list of whole numbers",
    "list[str]": "list of names",
    "list[list[str]]": "list of lists of names",
}
_FORMS = {
    "remapping": "mapping, two lists, `TSL` name, or a list or mapping with one for each datasource",
    "imported_folder": "folder, or a list with one for each datasource",
    "imported_labels": "list of whole numbers, or `TSL` name",
    "classes": "list of names, or a mapping from a name to names",
}


def meanings() -> dict[str, str]:
    """What the schema's docstring says about each key, on one line."""
    text = inspect.cleandoc(Plan.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, flags=re.MULTILINE)
    return {key: " ".join(body.split()) for key, body in entries}


def keys_table() -> str:
    """Markdown: a row for each key with type, unit, default, meaning, who reads it, and where an override acts."""
    said = meanings()
    rows = [
        "| key | type | unit | default | meaning | read by | an override acts on |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in fields(Plan):
        unit, reader = item.metadata.get("unit", ""), item.metadata.get("read_by", "")
        meaning = said[item.name].replace("``", "`").replace("|", "\\|")
        cells = (f"`{item.name}`", _type(item), unit, _default(item), meaning, reader, _acts_on(item.name))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _type(item: Field[Any]) -> str:
    name = str(item.type)
    optional = name.endswith(" | None")
    plain = name.removesuffix(" | None")
    text = _FORMS.get("remapping" if item.name.startswith("remapping") else item.name) or _TYPES[plain]
    return f"{text}; or null" if optional or item.default is None else text


def _default(item: Field[Any]) -> str:
    value = item.default_factory() if item.default_factory is not MISSING else item.default
    if value is None:
        return "null"
    if value == UNSET:
        return "none: must be stated where `imported_folder` is"
    if value == "":
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _acts_on(key: str) -> str:
    if key in SHARED_KEYS:
        return "the whole chain"
    return "the chosen plan" if key in OWN_KEYS else "plans that have the value from the same line"


def with_table(page: str) -> str:
    """`page` with what is between the marks made anew.

    Raises:
        ValueError: it has no place for it.
    """
    return with_made(page, BEGIN, keys_table())


if __name__ == "__main__":
    renew(Path(sys.argv[1]), BEGIN, keys_table())
