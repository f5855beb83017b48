"""mask_labels.json: what is done with each label of a prediction afterwards.

    {"1": {"name": "kidney", "dusting_threshold": 0, "k_largest": null, "fill_holes": false}, ...}

Keys are the values of the output, that is after label groups. The rules that the file is made with change nothing: what
is dust in one organ is a metastasis in another, so whoever knows the organ sets them, or `fran postprocess search`
finds them. docs/postprocessing.md says what each key does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from fran.errors import ConfigError, choices
from fran.io.files import read_json, write_json
from fran.labels import LabelScheme

RETIRED = "retired"
HARMLESS: Mapping[str, Any] = {"dusting_threshold": 0, "k_largest": None, "fill_holes": False}

Rules = dict[str, dict[str, Any]]
_VALUE = re.compile("[1-9][0-9]*")


@dataclass(frozen=True)
class LabelRule:
    """What is done with one label of a prediction, in the order of the attributes; the defaults change nothing.

    Attributes:
        name: of the label; empty where the file gives none.
        dusting_threshold: connected components of fewer voxels are removed.
        dusting_threshold_mm3: connected components of a smaller volume are removed.
        k_largest: of the rest so many components are kept, the largest; None keeps all.
        fill_holes: background that the label encloses becomes the label.
    """

    name: str = ""
    dusting_threshold: int = 0
    dusting_threshold_mm3: float = 0.0
    k_largest: int | None = None
    fill_holes: bool = False

    @property
    def removes(self) -> bool:
        """Whether it may remove components."""
        return self.dusting_threshold > 1 or self.dusting_threshold_mm3 > 0 or self.k_largest is not None

    @property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return self.removes or self.fill_holes

    @property
    def words(self) -> str:
        """For a person; "nothing" where it changes nothing.

        Example:
            >>> LabelRule("kidney", dusting_threshold_mm3=50.0, fill_holes=True).words
            'dusting_threshold_mm3 50, fill_holes'
        """
        told = {key: value for key, value in self.to_dict().items() if key != "name"}
        return ", ".join(key if value is True else f"{key} {value:g}" for key, value in told.items()) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """As in the file, with what changes nothing left out."""
        plain = LabelRule()
        return {key: value for key, value in asdict(self).items() if value != getattr(plain, key)}


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


def read_rules(path: Path, names: Mapping[int, str] | None = None) -> dict[int, LabelRule]:
    """Rule by value of the output; empty where the file is missing.

    Args:
        path: mask_labels.json, or a file like it.
        names: labels that there are, by value; None accepts any value.

    Raises:
        ConfigError: what is no rule, with everything that is wrong: an unknown key, a value of the wrong type, a label
            that is not among `names`.
    """
    content = _read(path)
    content.pop(RETIRED, None)
    return parse_rules(content, str(path), names)


def parse_rules(content: Any, where: str, names: Mapping[int, str] | None = None) -> dict[int, LabelRule]:
    """As `read_rules`, of what stands in such a file.

    Args:
        content: rule by label value.
        where: it is from, for messages.
        names: labels that there are, by value; None accepts any value.

    Raises:
        ConfigError: see `read_rules`.
    """
    rules = _checked(content, where)
    wrong = [line for value, rule in rules.items() for line in _problems(rule, f"label {value}")]
    if names is not None:
        known = ", ".join(f"{value} {name}" for value, name in sorted(names.items()))
        strangers = [value for value in rules if int(value) not in names]
        wrong += [f"label {value}: there is no such label; choices: {known}" for value in strangers]
    if wrong:
        raise ConfigError("\n  ".join([f"{where}: rules that cannot be applied:", *wrong]))
    return {int(value): LabelRule(**rule) for value, rule in rules.items()}


def adopt_rules(
    path: Path, found: Mapping[int, LabelRule], former: Mapping[int, LabelRule], names: Mapping[int, str]
) -> list[int]:
    """Write rules that were found into mask_labels.json, where no person has set another one.

    Args:
        path: mask_labels.json.
        found: the new rules, by value of the output; a label without one is left as it is predicted.
        former: the rules that were written before in this way.
        names: labels of the output that were looked at, by value.

    Returns:
        labels whose rule is a person's, and stays.

    Raises:
        ConfigError: the file cannot be read.
    """
    stored, rules = _read(path), read_rules(path)
    theirs = []
    for value, name in names.items():
        own = replace(rules.get(value, LabelRule()), name=name)
        new = replace(found.get(value, LabelRule()), name=name)
        if own.changes and own not in (new, replace(former.get(value, LabelRule()), name=name)):
            theirs.append(value)
        else:
            stored[str(value)] = {**HARMLESS, **new.to_dict()}
    if not path.exists() or stored != _read(path):
        write_json(path, stored)
    return theirs


def rules_for(rules: Mapping[int, LabelRule], labels: LabelScheme) -> tuple[dict[int, LabelRule], dict[int, LabelRule]]:
    """The rules that change something, by a model's own label values, and those whose label it does not predict.

    A rule that names its label is that label's whatever its value: a model may be older than the project's numbering,
    or its plan may have merged labels. One without a name is its value's.

    Raises:
        ConfigError: two rules for one label.
    """
    by_name = {name: value for value, name in labels.names.items()}
    found: dict[int, LabelRule] = {}
    strangers: dict[int, LabelRule] = {}
    for value, rule in rules.items():
        if not rule.changes:
            continue
        own = by_name.get(rule.name) if rule.name else value if value in labels.names else None
        if own is None:
            strangers[value] = rule
        elif own in found:
            raise ConfigError(f"label {own} ({labels.names[own]}): expected one rule, found two; remove one")
        else:
            found[own] = replace(rule, name=labels.names[own])
    return dict(sorted(found.items())), strangers


def _read(path: Path) -> dict[str, Any]:
    return _checked(read_json(path) if path.exists() else {}, str(path))


def _checked(content: Any, where: str) -> dict[str, Any]:
    """The content of a file, after a look at its form."""
    if not isinstance(content, dict):
        raise ConfigError(f'{where}: expected {{"1": {{"dusting_threshold": 0, …}}}}, found {type(content).__name__}')
    for value, rule in content.items():
        if not isinstance(rule, dict) or not (value == RETIRED or _VALUE.fullmatch(value)):
            raise ConfigError(
                f"{where}: expected a rule for each label value, found {value!r}: {rule!r}; for example "
                '"1": {"dusting_threshold": 300, "k_largest": 1}'
            )
    return content


def _problems(rule: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong about one rule, a line each."""
    lines = []
    for key, value in rule.items():
        if key not in _KEYS:
            lines.append(f"{where}: unknown key '{key}'; {choices(key, list(_KEYS))}")
        elif not _KEYS[key][0](value):
            lines.append(f"{where}: {key}: expected {_KEYS[key][1]}, found {value!r}")
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda v: isinstance(v, str), "the label's name"),
    "dusting_threshold": (
        lambda v: _is_whole(v) and v >= 0,
        "a whole number of voxels, 0 or more (a volume is dusting_threshold_mm3)",
    ),
    "dusting_threshold_mm3": (_is_number, "a volume in mm³, 0 or more"),
    "k_largest": (lambda v: v is None or (_is_whole(v) and v >= 1), "a whole number, 1 or more, or null"),
    "fill_holes": (lambda v: isinstance(v, bool), "true or false"),
}
assert tuple(_KEYS) == tuple(f.name for f in fields(LabelRule))
