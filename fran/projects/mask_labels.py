"""mask_labels.json: what is done with each label of a prediction afterwards.

    {"1": {"name": "kidney", "dusting_threshold": 0, "k_largest": null}, ...}

Keys are the values of the output, that is after label groups. ``dusting_threshold``: connected components of fewer
voxels than this are removed. ``k_largest``: so many of the largest components are kept, null means all. The rules
that the file is made with change nothing: what is dust in one organ is a metastasis in another, so whoever knows the
organ sets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fran.errors import ConfigError
from fran.io.files import read_json, write_json

RETIRED = "retired"
HARMLESS: Mapping[str, Any] = {"dusting_threshold": 0, "k_largest": None}

Rules = dict[str, dict[str, Any]]


def update_rules(path: Path, names: Mapping[int, str]) -> None:
    """Write a rule for every output label; what a person has written stays and follows its label's name.

    A rule that was changed and whose label is gone is kept under ``"retired"`` by name, and comes back with its label.

    Args:
        path: mask_labels.json.
        names: by value of the output.
    """
    stored = _read(path)
    known: Rules = dict(stored.pop(RETIRED, {}))
    by_value: Rules = {}
    for value, rule in stored.items():
        if "name" in rule:
            known[str(rule["name"])] = rule
        else:
            by_value[value] = rule
    rules: dict[str, Any] = {}
    for number, name in names.items():
        own = known.pop(name, None) or by_value.pop(str(number), {})
        rules[str(number)] = {**HARMLESS, **own, "name": name}
    known |= {f"label_{value}": rule for value, rule in by_value.items()}
    retired = {name: rule for name, rule in known.items() if not rule.items() <= {**HARMLESS, "name": name}.items()}
    if retired:
        rules[RETIRED] = retired
    if not path.exists() or rules != _read(path):
        write_json(path, rules)


def read_rules(path: Path) -> dict[int, dict[str, Any]]:
    """Rule by value of the output; empty where the file is missing.

    Raises:
        ConfigError: a key is no label value, or a rule is no mapping.
    """
    rules = _read(path)
    rules.pop(RETIRED, None)
    return {int(value): rule for value, rule in rules.items()}


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: expected {{"1": {{"dusting_threshold": 0, …}}}}, found {type(content).__name__}')
    for value, rule in content.items():
        if not isinstance(rule, dict) or not (value == RETIRED or value.isdecimal()):
            raise ConfigError(
                f"{path}: expected a rule for each label value, found {value!r}: {rule!r}; for example "
                '"1": {"dusting_threshold": 300, "k_largest": 1}'
            )
    return content
