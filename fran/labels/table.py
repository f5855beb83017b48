"""The label table: TotalSegmentator's classes, how they are put together in columns, and structures by name.

It is a yaml file that people edit (conf/labels/tsl.yaml). Plans refer to it as ``TSL.<name>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from fran.errors import ConfigError, choices
from fran.labels.remapping import Remapping, Rest
from fran.labels.table_file import FULL, TableFile, read_table_file

PREFIX = "TSL."
ALL = "all"


@dataclass(frozen=True)
class Column:
    """One way of putting the classes together.

    Attributes:
        name: such as ``label_organ``.
        about: one sentence for people.
        values: value by class id.
        names: name by value.
    """

    name: str
    about: str
    values: Mapping[int, int]
    names: Mapping[int, str]


@dataclass(frozen=True)
class LabelTable:
    """Classes, columns and structures.

    Attributes:
        path: the file.
        columns: by name; ``label_full`` has the classes' own ids.
        structures: class ids by name.

    Example:
        ``table.remapping("TSL.label_full", "TSL.label_organ")`` gives both kidneys one value.
    """

    path: Path
    columns: Mapping[str, Column]
    structures: Mapping[str, frozenset[int]]

    @classmethod
    def read(cls, path: Path | str) -> LabelTable:
        """Table of a yaml file.

        Raises:
            ConfigError: all mistakes in the file, each with its line.
        """
        content = read_table_file(Path(path))
        columns = {name: _column(name, content) for name in content.columns}
        structures = {name: _members(patterns, content) for name, patterns in content.structures.items()}
        return cls(content.path, columns, structures)

    @property
    def names(self) -> list[str]:
        """Everything that may stand behind ``TSL.``, classes and organs included."""
        own = [*self.columns, *(c.removeprefix("label_") for c in self.columns), ALL, *self.structures]
        return sorted({*own, *self.columns[FULL].names.values(), *self._organs()})

    def is_numbering(self, name: str) -> bool:
        """Whether a name is a column (or ``all``) rather than a structure."""
        bare = name.strip().removeprefix(PREFIX)
        return bare == ALL or self._column_named(bare) is not None

    def ids(self, name: str) -> frozenset[int]:
        """Class ids of a structure, an organ or a class; every id for a column or ``all``.

        Raises:
            ConfigError: no such name; with the nearest one.
        """
        bare = name.strip().removeprefix(PREFIX)
        if self.is_numbering(bare):
            return frozenset(self.columns[FULL].values)
        if bare in self.structures:
            return self.structures[bare]
        for groups in (self._classes(), self._organs()):
            if bare in groups:
                return groups[bare]
        raise ConfigError(f"a name of the label table ({self.path}), found 'TSL.{bare}'; {_near(bare, self.names)}")

    def values(self, name: str, column: str = FULL) -> frozenset[int]:
        """Values of a structure in a column's numbering: those of the groups that hold any of its classes.

        Raises:
            ConfigError: no such structure or column.
        """
        numbering = self.column(column).values
        return frozenset(numbering[i] for i in self.ids(name))

    def others(self, name: str, column: str) -> frozenset[int]:
        """Class ids outside of a structure that share its values in a column, so that it cannot be told from them."""
        values, ids = self.values(name, column), self.ids(name)
        return frozenset(i for i, v in self.column(column).values.items() if v in values and i not in ids)

    def column(self, name: str) -> Column:
        """A column by name, with or without ``TSL.`` and ``label_``; ``all`` is ``label_full``.

        Raises:
            ConfigError: no such column.
        """
        bare = name.strip().removeprefix(PREFIX)
        found = self.columns[FULL] if bare == ALL else self._column_named(bare)
        if found is None:
            raise ConfigError(f"a column of the label table, found '{name}'; {choices(bare, list(self.columns))}")
        return found

    def remapping(self, source: str, dest: str | None = None, rest: Rest = "keep") -> Remapping:
        """The remapping that ``TSL.<source>:TSL.<dest>`` means.

        Column to column goes row by row. Column to structure keeps the structure's values in that column's numbering
        and makes all else 0. ``all`` as destination keeps every label, also those that the table does not have. A
        structure as source restricts the rows. ``TSL.<name>`` alone is ``TSL.label_full:TSL.<name>``.

        Args:
            source: what the values are now.
            dest: what they become.
            rest: what becomes of values that the table does not have.

        Raises:
            ConfigError: a name is unknown, or one value of `source` would have several in `dest`.
        """
        if dest is None:
            source, dest = FULL, source
        rows = self.ids(source)
        numbering = self.column(source) if self.is_numbering(source) else self.columns[FULL]
        outside: Rest = rest if self.is_numbering(source) else 0
        if dest.strip().removeprefix(PREFIX) == ALL and self.is_numbering(source):
            return Remapping((), "keep", _named(numbering))
        if not self.is_numbering(dest):
            kept = self.values(dest, numbering.name) & {numbering.values[i] for i in rows}
            return Remapping.of({v: v for v in kept}, 0, {v: numbering.names[v] for v in kept if v})
        target = self.column(dest)
        pairs = [(numbering.values[i], target.values[i]) for i in sorted(rows)]
        _check_unambiguous(source, dest, pairs, numbering)
        return Remapping.of(dict(pairs), outside, _named(target))

    def _column_named(self, bare: str) -> Column | None:
        return self.columns.get(bare) or self.columns.get(f"label_{bare}")

    def _classes(self) -> dict[str, frozenset[int]]:
        return {name: frozenset({i}) for i, name in self.columns[FULL].names.items()}

    def _organs(self) -> dict[str, frozenset[int]]:
        organ = self.columns.get("label_organ", self.columns[FULL])
        return {n: frozenset(i for i, v in organ.values.items() if v == value) for value, n in organ.names.items()}


def _named(column: Column) -> dict[int, str]:
    return {value: name for value, name in column.names.items() if value}


def _column(name: str, content: TableFile) -> Column:
    position = content.columns.index(name)
    if name == FULL:
        names = {i: row[position] for i, row in content.classes.items()}
        return Column(name, content.about.get(name, ""), {i: i for i in names}, names)
    numbers = content.numbers[name]
    values = {i: numbers[row[position]] for i, row in content.classes.items()}
    return Column(name, content.about.get(name, ""), values, {number: n for n, number in numbers.items()})


def _members(patterns: Sequence[str], content: TableFile) -> frozenset[int]:
    full = content.columns.index(FULL)
    return frozenset(
        i for i, row in content.classes.items() if any(fnmatchcase(row[full], pattern) for pattern in patterns)
    )


def _check_unambiguous(source: str, dest: str, pairs: Sequence[tuple[int, int]], numbering: Column) -> None:
    found: dict[int, set[int]] = {}
    for old, new in pairs:
        found.setdefault(old, set()).add(new)
    for old, news in found.items():
        if len(news) > 1:
            raise ConfigError(
                f"a destination that is no finer than the source: {old} ({numbering.names[old]}) of {source} "
                f"would have {len(news)} values in {dest}; begin with TSL.label_full where the data have its values"
            )


def _near(name: str, valid: Sequence[str]) -> str:
    """The nearest names; the table has too many to list them all."""
    from difflib import get_close_matches

    near = get_close_matches(name, valid, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(f'TSL.{n}' for n in near)}? " if near else ""
    return f"{hint}`fran labels tsl` lists them"
