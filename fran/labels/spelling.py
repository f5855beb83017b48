"""The spellings of a remapping in a plan, on a command line and in old workbooks; one meaning each.

One for all datasources: a dict ``{1: 2, rest: 0}``, two lists ``[[1, 2], [1, 1]]``, text such as
``TSL.label_region:TSL.lungs``, or null. For each datasource: a list with one of these (or null) for each, in the
plan's order, or a dict by name ``{lits: {1: 2}, drli: null}``.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from fran.errors import ConfigError, SettingProblem, SettingsFailed, choices
from fran.labels.remapping import Remapping, Rest
from fran.labels.scheme import MAX_LABEL
from fran.labels.table import LabelTable

FORMS = "{1: 2}, [[1], [2]], TSL.label_full:TSL.label_organ, or null"
_NOTHING = ("", "null", "none", "nan", "na", "~")
_REST = "rest"


def parse_remapping(
    value: Any,
    datasources: Sequence[str],
    table: LabelTable | None = None,
    default_rest: Rest = "keep",
    key_name: str = "remapping",
) -> dict[str, Remapping | None]:
    """The remapping of each datasource; None where neither values nor names change.

    Args:
        value: any spelling.
        datasources: the plan's datasources, in the plan's order.
        table: what ``TSL.`` names are looked up in.
        default_rest: what becomes of labels that are not listed, where the value does not say it by ``rest:``.
        key_name: key of the plan, for messages.

    Raises:
        SettingsFailed: the key, its value, the entry at fault, and what would do.

    Example:
        >>> same = [{1: 2}, {"1": 2}, [[1], [2]], "[1],[2]", [{1: 2}, [[1], [2]]], {"lits": {1: 2}, "kits": {1: 2}}]
        >>> {tuple(parse_remapping(v, ["lits", "kits"]).values()) for v in same}
        {(Remapping(pairs=((1, 2),), rest='keep', names={}), Remapping(pairs=((1, 2),), rest='keep', names={}))}
    """
    context = _Context(key_name, value, tuple(datasources), table, default_rest)
    return {ds: None if r is None or _says_nothing(r) else r for ds, r in _by_datasource(value, context).items()}


def _says_nothing(remapping: Remapping) -> bool:
    return remapping.is_identity and not remapping.names


@dataclass(frozen=True)
class _Context:
    """What an entry is read with, and blamed with."""

    key: str
    value: Any
    datasources: tuple[str, ...]
    table: LabelTable | None
    rest: Rest
    entry: str = ""

    def at(self, entry: str) -> _Context:
        return replace(self, entry=entry)

    def fail(self, expected: str) -> NoReturn:
        where = f" ({self.entry})" if self.entry else ""
        raise SettingsFailed([SettingProblem(self.key, self.value, expected + where)]) from None


def _by_datasource(value: Any, context: _Context) -> dict[str, Remapping | None]:
    if isinstance(value, str):
        value = _from_text(value, context)
    if _is_by_name(value):
        return _named_entries(value, context)
    if _is_list(value) and not _is_pair(value):
        return _listed_entries(value, context)
    one = _entry(value, context)
    return dict.fromkeys(context.datasources, one)


def _named_entries(value: Mapping[Any, Any], context: _Context) -> dict[str, Remapping | None]:
    for name in value:
        if str(name) not in context.datasources:
            context.fail(f"label values or datasources as keys; {choices(name, context.datasources)}; found '{name}'")
    found = {str(name): _entry(entry, context.at(f"in the entry '{name}'")) for name, entry in value.items()}
    return {ds: found.get(ds) for ds in context.datasources}


def _listed_entries(value: Sequence[Any], context: _Context) -> dict[str, Remapping | None]:
    if value and not any(_is_list(v) or isinstance(v, Mapping | str) or v is None for v in value):
        context.fail(f"two lists [from, to], for instance [[1, 2], [1, 1]], found one list of {len(value)} values")
    if len(value) == 2 and all(_is_list(v) and _is_flat(v) for v in value):
        context.fail(f"two lists of one length, found {len(value[0])} old and {len(value[1])} new values")
    names = context.datasources
    if len(value) != len(names):
        context.fail(
            f"one entry for all datasources, or a list with one for each of the {len(names)} datasources "
            f"({', '.join(names)}), found a list of {len(value)}"
        )
    return {
        ds: _entry(entry, context.at(f"in entry {number}, of '{ds}'"))
        for number, (ds, entry) in enumerate(zip(names, value, strict=True), start=1)
    }


def _entry(value: Any, context: _Context) -> Remapping | None:
    """One remapping for one datasource, or for all."""
    if isinstance(value, str):
        value = _from_text(value, context)
    if value is None:
        return None
    if isinstance(value, Mapping):
        return _from_dict(value, context)
    if _is_pair(value):
        return _from_lists(value[0], value[1], context)
    if isinstance(value, str):
        return _from_table(value, context)
    return context.fail(f"{FORMS}, found {value!r}")


def _from_dict(value: Mapping[Any, Any], context: _Context) -> Remapping:
    if len(value) == 1 and str(next(iter(value))).startswith("TSL."):
        source, dest = next(iter(value.items()))  # yaml reads `TSL.a: TSL.b` as a dict
        return _from_table(f"{source}:{dest}", context)
    rest = _rest(value[_REST], context) if _REST in value else context.rest
    olds = [old for old in value if old != _REST]
    return _from_pairs(olds, [value[old] for old in olds], rest, context)


def _from_lists(olds: Sequence[Any], news: Sequence[Any], context: _Context) -> Remapping:
    return _from_pairs(olds, news, context.rest, context)


def _from_pairs(olds: Sequence[Any], news: Sequence[Any], rest: Rest, context: _Context) -> Remapping:
    numbers = [_label(old, context) for old in olds]
    repeated = sorted({old for old in numbers if numbers.count(old) > 1})
    if repeated:
        context.fail(f"each old label once, found {', '.join(map(str, repeated))} more than once")
    pairs = tuple(zip(numbers, (_label(new, context) for new in news), strict=True))
    if any(old == 0 and new != 0 for old, new in pairs):
        context.fail("0 to stay 0, because it is background")
    return Remapping(pairs, rest)


def _from_table(text: str, context: _Context) -> Remapping:
    if context.table is None:
        context.fail(f"a remapping without names of the label table, which is not at hand, found {text!r}")
    parts = [part.strip() for part in re.split("[:,]", text)]
    if len(parts) > 2:
        context.fail(f"TSL.<name> or TSL.<from>:<to>, found {text!r}")
    try:
        return context.table.remapping(parts[0], parts[1] if len(parts) == 2 else None, context.rest)
    except ConfigError as error:
        context.fail(str(error))


def _from_text(text: str, context: _Context) -> Any:
    """What a text says: null, a dict, lists, names of the label table, or a list of these."""
    parts = _split(text)
    atoms = all(part.startswith("TSL.") and ":" not in part for part in parts)
    if len(parts) == 2 and atoms and (len(context.datasources) != 2 or context.entry or _is_column(parts[0], context)):
        return ":".join(parts)  # the older spelling of <from>:<to>
    read = [_item(part, context) for part in parts]
    return read[0] if len(read) == 1 else read


def _item(text: str, context: _Context) -> Any:
    if text.lower() in _NOTHING:
        return None
    if text.startswith("TSL."):
        return text
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        context.fail(f"{FORMS}, found {text!r}")
    if not isinstance(read, dict | list | tuple):
        context.fail(f"{FORMS}, found {text!r}")
    return read


def _split(text: str) -> list[str]:
    """Parts between the commas that stand outside of brackets.

    Example:
        >>> _split("{1: 3, 2: 3}, TSL.lungs")
        ['{1: 3, 2: 3}', 'TSL.lungs']
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _is_column(name: str, context: _Context) -> bool:
    return context.table is not None and context.table.is_numbering(name)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_flat(value: Sequence[Any]) -> bool:
    return not any(_is_list(v) or isinstance(v, Mapping) or v is None for v in value)


def _is_pair(value: Any) -> bool:
    return (
        _is_list(value)
        and len(value) == 2
        and all(_is_list(v) and _is_flat(v) and not any(_is_name(x) for x in v) for v in value)
        and len(value[0]) == len(value[1])
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("TSL.")


def _is_by_name(value: Any) -> bool:
    """Whether a dict has datasources as keys: no label value, no ``rest`` and no name of the label table."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(k, str) and k != _REST and not _is_name(k) and not _is_number(k) for k in value)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[\d.]+([eE][-+]?\d+)?\s*", text) is not None


def _label(value: Any, context: _Context) -> int:
    try:
        number = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        number = -1
    if isinstance(value, bool) or not 0 <= number <= MAX_LABEL:
        context.fail(f"labels that are whole numbers from 0 to {MAX_LABEL}, found {value!r}")
    return number


def _rest(value: Any, context: _Context) -> Rest:
    return "keep" if value == "keep" else _label_or_keep(value, context)


def _label_or_keep(value: Any, context: _Context) -> int:
    if isinstance(value, str) and not _is_number(value):
        context.fail(f"rest: keep, or the label that all other labels become (0 drops them), found {value!r}")
    return _label(value, context)
