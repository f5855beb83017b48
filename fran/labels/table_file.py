"""Reading and checking the label table's yaml file, every mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from fran.errors import ConfigError, choices
from fran.labels.scheme import MAX_LABEL

FULL = "label_full"
BACKGROUND = "background"
_SECTIONS = ("columns", "numbers", "classes", "structures")
_RESERVED = ("all",)


@dataclass(frozen=True)
class TableFile:
    """The file's content, checked.

    Attributes:
        path: the file.
        columns: names in the order of a row, `FULL` among them.
        about: sentence by column.
        numbers: for each column but `FULL`, value by name; `BACKGROUND` is 0.
        classes: row of names by class id.
        structures: names of classes, ``*`` standing for any letters, by structure.
    """

    path: Path
    columns: tuple[str, ...]
    about: Mapping[str, str]
    numbers: Mapping[str, Mapping[str, int]]
    classes: Mapping[int, tuple[str, ...]]
    structures: Mapping[str, tuple[str, ...]]


class _StrictLoader(yaml.SafeLoader):
    """A key that stands twice is a mistake, not an update."""


def _strict_mapping(loader: _StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise ConfigError(f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: {key!r} stands twice")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _strict_mapping)


def read_table_file(path: Path) -> TableFile:
    """Content of a label table.

    Raises:
        ConfigError: the file cannot be read, or every mistake in it, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"label table: expected a readable file, found {path}: {error}") from error
    try:
        content = yaml.load(text, _StrictLoader)  # noqa: S506 - derived from SafeLoader
    except ConfigError as error:
        raise ConfigError(f"label table {path}: {str(error).replace('<unicode string>', 'line ')}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"label table {path}: expected yaml, found: {error}") from error
    _check_sections(content, path)
    mistakes = [*_check_columns(content), *_check_rows(content), *_check_structures(content)]
    if mistakes:
        lines = [f"  line {_line_of(text, section, key)}: {what}" for section, key, what in mistakes]
        raise ConfigError("\n".join([f"label table {path}: {len(mistakes)} to mend", *lines]))
    return _typed(content, path)


Mistake = tuple[str, object, str]


def _check_sections(content: Any, path: Path) -> None:
    if not isinstance(content, dict):
        raise ConfigError(f"label table {path}: expected the sections {', '.join(_SECTIONS)}, found none")
    for section in content:
        if section not in _SECTIONS:
            raise ConfigError(f"label table {path}: unknown section '{section}'; {choices(section, _SECTIONS)}")
    for section in _SECTIONS:
        if not isinstance(content.get(section), dict):
            raise ConfigError(f"label table {path}: expected a section '{section}' with entries, found none")


def _check_columns(content: dict[str, Any]) -> Iterator[Mistake]:
    columns = list(content["columns"])
    if FULL not in columns:
        yield "columns", None, f"expected a column {FULL}, found {', '.join(map(str, columns))}"
    for name in columns:
        if name != FULL and not isinstance(content["numbers"].get(name), dict):
            yield "numbers", name, f"expected the numbers of {name}, such as {{spleen: 1}}, found none"
    for name, numbers in content["numbers"].items():
        if name not in columns or name == FULL:
            yield "numbers", name, f"numbers of '{name}', which is no column; {choices(name, [*map(str, columns)])}"
        elif isinstance(numbers, dict):
            yield from _check_numbers(name, numbers)


def _check_numbers(column: str, numbers: dict[Any, Any]) -> Iterator[Mistake]:
    taken: dict[int, Any] = {}
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_LABEL:
            yield "numbers", name, f"{column}: expected a number from 1 to {MAX_LABEL} for {name}, found {number!r}"
        elif number in taken:
            yield "numbers", name, f"{column}: {taken[number]} and {name} have one number, {number}"
        else:
            taken[number] = name


def _check_rows(content: dict[str, Any]) -> Iterator[Mistake]:
    columns = list(content["columns"])
    seen: dict[str, Any] = {}
    for key, row in content["classes"].items():
        if not isinstance(key, int) or not 1 <= key <= MAX_LABEL:
            yield "classes", key, f"expected a class id from 1 to {MAX_LABEL}, found {key!r}"
        if not isinstance(row, list) or len(row) != len(columns) or not all(isinstance(n, str) and n for n in row):
            yield "classes", key, f"class {key}: expected one name for each of {', '.join(columns)}, found {row}"
            continue
        for column, name in zip(columns, row, strict=True):
            numbers = content["numbers"].get(column)
            if column == FULL:
                if name in seen:
                    yield "classes", key, f"class {key}: '{name}' is class {seen[name]} already"
                seen[name] = key
            elif isinstance(numbers, dict) and name not in numbers and name != BACKGROUND:
                known = [str(n) for n in numbers]
                yield "classes", key, f"class {key}: '{name}' has no number in {column}; {choices(name, known)}"


def _check_structures(content: dict[str, Any]) -> Iterator[Mistake]:
    columns = list(content["columns"])
    position = columns.index(FULL) if FULL in columns else 0
    known = [str(r[position]) for r in content["classes"].values() if isinstance(r, list) and len(r) > position]
    for name, patterns in content["structures"].items():
        if name in _RESERVED or name in columns or f"label_{name}" in columns:
            yield "structures", name, f"'{name}' is taken by a column"
        if not isinstance(patterns, list) or not patterns:
            yield "structures", name, f"{name}: expected a list of classes, found {patterns!r}"
            continue
        for pattern in patterns:
            if not any(fnmatchcase(class_name, str(pattern)) for class_name in known):
                yield "structures", name, f"{name}: no class is called '{pattern}'; {_nearest(str(pattern), known)}"


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    return f"nearest: {', '.join(get_close_matches(name, known, n=3, cutoff=0.3)) or 'none'}"


def _typed(content: dict[str, Any], path: Path) -> TableFile:
    return TableFile(
        path=path,
        columns=tuple(content["columns"]),
        about={name: str(about or "") for name, about in content["columns"].items()},
        numbers={column: {BACKGROUND: 0} | numbers for column, numbers in content["numbers"].items()},
        classes={key: tuple(row) for key, row in content["classes"].items()},
        structures={str(name): tuple(map(str, patterns)) for name, patterns in content["structures"].items()},
    )


def _line_of(text: str, section: str, key: object) -> int:
    """Line of a key, or of its section."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(f"{section}:")), 0)
    wanted = re.compile(rf"(^|[\s{{,'\"]){re.escape(str(key))}['\"]?\s*:")
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        if line[:1].isalpha():
            break
        if key is not None and wanted.search(line):
            return number
    return start + 1
