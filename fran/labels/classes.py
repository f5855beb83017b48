"""What a network tells apart: classes asked for by name, made of labels at the end of their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fran.errors import SettingProblem, SettingsFailed, choices
from fran.labels.flow import Track
from fran.labels.scheme import LabelScheme

KEY = "classes"
Classes = Mapping[str, tuple[str, ...]]


def parse_classes(value: Any) -> Classes | None:
    """Names of labels by class.

    ``[kidney, tumour]`` keeps these two; ``{kidney: [kidney_left, kidney_right], tumour: tumour}`` joins labels.

    Raises:
        SettingsFailed: something else than names, or a name twice.

    Example:
        >>> parse_classes(["kidney", "tumour"])
        {'kidney': ('kidney',), 'tumour': ('tumour',)}
        >>> parse_classes({"kidney": ["kidney_left", "kidney_right"], "tumour": "tumour"})
        {'kidney': ('kidney_left', 'kidney_right'), 'tumour': ('tumour',)}
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        entries = [(name, [members] if isinstance(members, str) else members) for name, members in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        entries = [(name, [name]) for name in value]
    else:
        entries = [(value, [value])] if isinstance(value, str) else [(value, None)]
    wrong = [item for name, members in entries for item in _not_names(name, members)]
    names = [name for name, _ in entries]
    wrong += [name for name in names if names.count(name) > 1]
    if wrong or not entries:
        expected = "names of labels, each once: [kidney, tumour], or {kidney: [kidney_left, kidney_right]} to join some"
        found = f"; found {wrong[0]!r}" if wrong else "; null keeps every label"
        raise SettingsFailed([SettingProblem(KEY, value, expected + found)])
    return {str(name): tuple(members or ()) for name, members in entries}


def _not_names(name: Any, members: Any) -> list[Any]:
    if not isinstance(members, Sequence) or not members:
        return [members]
    return [item for item in (name, *members) if not isinstance(item, str) or not item]


def every_label(tracks: Sequence[Track]) -> tuple[list[Track], LabelScheme]:
    """One class for each label that a case has."""
    values = {t.value for t in tracks if t.met and t.value}
    return [t if t.value in values else replace(t, value=0) for t in tracks], LabelScheme.from_values(
        values, _distinct(tracks, values)
    )


def chosen_classes(
    tracks: Sequence[Track], classes: Classes
) -> tuple[list[Track], LabelScheme, list[SettingProblem], list[str]]:
    """The classes asked for; all other labels become background. A class has the smallest value of its labels.

    Returns:
        tracks, scheme, problems, notes.
    """
    by_name = _values_by_name(tracks)
    members = {name: {v for m in wanted for v in by_name.get(m, ())} for name, wanted in classes.items()}
    problems = [*_unknown(classes, by_name), *_shared(classes, members), *_undrawn(tracks, classes, members)]
    outputs = {v: min(values) for values in members.values() for v in values}
    names = {min(values): name for name, values in members.items() if values}
    scheme = LabelScheme.from_values(names, names)
    notes = [f"classes: no case has a voxel of '{name}'" for name, v in members.items() if v and not _met(tracks, v)]
    return [replace(t, value=outputs.get(t.value, 0)) for t in tracks], scheme, problems, notes


def _values_by_name(tracks: Sequence[Track]) -> dict[str, set[int]]:
    """Values by every name that they may be asked for by: their own, and that with the datasource before it."""
    found: dict[str, set[int]] = {}
    for track in tracks:
        if track.value:
            own = track.name or f"label_{track.value}"
            for name in (own, f"{track.datasource}_{own}"):
                found.setdefault(name, set()).add(track.value)
    return found


def _unknown(classes: Classes, by_name: Mapping[str, set[int]]) -> Iterator[SettingProblem]:
    short = [name for name, values in by_name.items() if not any(name.endswith(f"_{n}") for n in by_name if n != name)]
    for name, wanted in classes.items():
        for member in wanted:
            if member not in by_name:
                where = "" if member == name else f" (in '{name}')"
                yield SettingProblem(KEY, member, f"a label of the plan's datasources{where}; {choices(member, short)}")


def _shared(classes: Classes, members: Mapping[str, set[int]]) -> Iterator[SettingProblem]:
    counts = Counter(v for values in members.values() for v in values)
    for value, n in counts.items():
        if n > 1:
            names = [name for name, values in members.items() if value in values]
            yield SettingProblem(
                KEY, list(classes), f"each label in one class, found label {value} in {' and '.join(names)}"
            )


def _undrawn(tracks: Sequence[Track], classes: Classes, members: Mapping[str, set[int]]) -> Iterator[SettingProblem]:
    for name, values in members.items():
        if values and not any(t.drawn for t in tracks if t.value in values):
            holders = sorted({t.datasource for t in tracks if t.value in values})
            yield SettingProblem(
                KEY,
                name,
                f"a class that a datasource annotates; {', '.join(holders)} know it by name but do not list it "
                "as annotated",
            )


def _met(tracks: Sequence[Track], values: set[int]) -> bool:
    return any(t.met for t in tracks if t.value in values)


def _distinct(tracks: Sequence[Track], values: set[int]) -> dict[int, str]:
    """Name by value; where several values have one name, the datasource is put before it."""
    first = {t.value: t for t in reversed(tracks) if t.value in values and t.name}
    counts = Counter(t.name for t in first.values())
    return {v: t.name if counts[t.name] == 1 else f"{t.datasource}_{t.name}" for v, t in first.items()}
