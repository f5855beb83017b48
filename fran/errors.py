"""Errors meant for users.

A message says which argument or file, what was expected, what came, and what to do next. Commands print the message
of a `FranError` without a traceback and exit with status 1; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

MANY = 20
Severity = Literal["note", "warning", "error"]


class FranError(Exception):
    """Base of every error that a user can act on.

    Attributes:
        status: exit status of a command that ends with it.
    """

    status = 1


class ConfigError(FranError, ValueError):
    """A setting is unknown, of the wrong type, or impossible."""

    status = 2


class DataError(FranError, ValueError):
    """A raw file or a case is not what it should be."""


class GeometryError(DataError):
    """Two grids that should agree do not, or an affine cannot be used."""


class StoreError(FranError, RuntimeError):
    """A file that fran itself wrote is missing, stale or damaged."""


class NothingNamedSo(StoreError):
    """A project, a run, a cross-validation or a sweep that the command line names is not there; nothing was done."""

    status = 2


@dataclass(frozen=True)
class CaseProblem:
    """One thing that is wrong, or worth knowing, about one case.

    Attributes:
        case_id: the case, or the datasource where no case can be named.
        path: the file that was looked at.
        what: the property, for instance ``"spacing"``.
        expected: what it should have been.
        found: what it was.
        next_step: what the user can do about it.
        severity: ``"error"`` leaves the case out; ``"warning"`` and ``"note"`` keep it.
    """

    case_id: str
    path: str
    what: str
    expected: str
    found: str
    next_step: str
    severity: Severity = "error"


class CasesFailed(DataError):
    """Some cases failed while the others went through; carries every problem and prints them as one table."""

    def __init__(self, title: str, problems: Sequence[CaseProblem]) -> None:
        self.title = title
        self.problems = tuple(problems)
        super().__init__(f"{title}\n{problems_table(problems)}")

    def __reduce__(self) -> tuple[type[CasesFailed], tuple[str, tuple[CaseProblem, ...]]]:
        return type(self), (self.title, self.problems)


def problems_table(problems: Sequence[CaseProblem]) -> str:
    """Problems as plain text, one block a case, that stays readable in a log file and in a narrow terminal."""
    lines: list[str] = []
    for problem in problems:
        lines.append(f"  {problem.severity}: {problem.case_id}: {problem.what}")
        lines.append(f"      expected {problem.expected}")
        lines.append(f"      found    {problem.found}")
        lines.append(f"      file     {problem.path}")
        lines.append(f"      next     {problem.next_step}")
    return "\n".join(lines)


@dataclass(frozen=True)
class SettingProblem:
    """A setting that cannot work.

    Attributes:
        key: dotted key in the configuration.
        value: what it was set to.
        expected: what would do, with the nearest valid values where there are some.
        set_in: file and line, or override, that the value comes from, where that is known.
    """

    key: str
    value: object
    expected: str
    set_in: str = ""


class SettingsFailed(ConfigError):
    """Settings that cannot work; carries every problem and prints them all."""

    def __init__(self, problems: Sequence[SettingProblem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} settings cannot work" if len(problems) > 1 else "1 setting cannot work"
        blocks = [
            f"  {p.key} = {p.value}\n      expected {p.expected}" + (f"\n      set in   {p.set_in}" if p.set_in else "")
            for p in problems
        ]
        super().__init__("\n".join([count, *blocks]))

    def __reduce__(self) -> tuple[type[SettingsFailed], tuple[tuple[SettingProblem, ...]]]:
        return type(self), (self.problems,)


def raise_for_settings(problems: Sequence[SettingProblem]) -> None:
    """Raise one `SettingsFailed` that lists every problem; nothing happens without one."""
    if problems:
        raise SettingsFailed(problems)


def unmet(settings: object, group: str, wanted: Mapping[str, bool | str]) -> list[SettingProblem]:
    """Problems of those attributes of `settings` whose entry in `wanted` is not True but says what was expected."""
    return [
        SettingProblem(f"{group}.{name}", getattr(settings, name), expected)
        for name, expected in wanted.items()
        if isinstance(expected, str)
    ]


def is_ctrl_c(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an exception: libraries replace it by what fails while they tidy up."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def choices(value: object, valid: Sequence[str]) -> str:
    """`valid` as text, with the nearest spelling of `value` first, for the end of an error message.

    Where there are many, the nearest stands alone.

    Example:
        >>> choices("shwo", ["list", "show"]), choices("a", [])
        ("did you mean 'show'? choices: list, show", 'there are none')
    """
    from difflib import get_close_matches

    if not valid:
        return "there are none"
    near = get_close_matches(str(value), valid, n=1)
    if near and len(valid) > MANY:
        return f"did you mean '{near[0]}'?"
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}choices: {', '.join(sorted(valid))}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, whose plural ends in s.

    Example:
        >>> counted(1, "epoch"), counted(2, "epoch")
        ('1 epoch', '2 epochs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
