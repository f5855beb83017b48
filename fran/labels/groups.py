"""Label groups: one numbering for datasources whose label values mean different things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fran.errors import ConfigError, choices


@dataclass(frozen=True)
class LabelGroups:
    """A numbering of labels over groups of datasources.

    Attributes:
        groups: datasource names, group by group.
        mapping: for each datasource, new value by old value.
        origin: for each new value, its group's index and its old value there.
    """

    groups: tuple[tuple[str, ...], ...]
    mapping: Mapping[str, Mapping[int, int]]
    origin: Mapping[int, tuple[int, int]]


def group_labels(groups: Sequence[Sequence[str]] | None, labels_by_ds: Mapping[str, Iterable[int]]) -> LabelGroups:
    """Number the labels of grouped datasources.

    With several groups, the sorted union of the labels inside a group gets consecutive integers, beginning after the
    highest of the group before; the first begins with 1. One group keeps its values as they are in the files, gaps
    included: nothing has to be told apart, and predictions come back with the user's own values. 0 is background
    everywhere.

    Args:
        groups: names of datasources; None is one group with all of them.
        labels_by_ds: label values of every datasource of the project.

    Raises:
        ConfigError: a name is unknown, in two groups, or in none.

    Example:
        >>> group_labels([["a"], ["b"]], {"a": {1, 2}, "b": {1, 3}}).mapping
        {'a': {1: 1, 2: 2}, 'b': {1: 3, 3: 4}}
        >>> group_labels(None, {"a": {3, 117}, "b": {3, 5}}).mapping
        {'a': {3: 3, 117: 117}, 'b': {3: 3, 5: 5}}
    """
    chosen = tuple(tuple(g) for g in groups) if groups is not None else (tuple(sorted(labels_by_ds)),)
    check_groups(chosen, labels_by_ds)
    mapping: dict[str, dict[int, int]] = {}
    origin: dict[int, tuple[int, int]] = {}
    for index, group in enumerate(chosen):
        union = sorted({int(v) for ds in group for v in labels_by_ds[ds]} - {0})
        news = union if len(chosen) == 1 else range(len(origin) + 1, len(origin) + len(union) + 1)
        number = dict(zip(union, news, strict=True))
        origin |= {new: (index, old) for old, new in number.items()}
        for ds in group:
            mapping[ds] = {old: number[old] for old in sorted(set(labels_by_ds[ds]) - {0})}
    return LabelGroups(chosen, mapping, origin)


def check_groups(groups: Sequence[Sequence[str]], known: Iterable[str]) -> None:
    """Refuse groups that do not hold every known datasource exactly once.

    Raises:
        ConfigError: naming the datasource.
    """
    names = sorted(known)
    counts = Counter(ds for group in groups for ds in group)
    for ds, n in counts.items():
        if ds not in names:
            raise ConfigError(f"lm_groups: unknown datasource '{ds}'; {choices(ds, names)}")
        if n > 1:
            raise ConfigError(f"lm_groups: expected each datasource once, found '{ds}' {n} times")
    missing = [ds for ds in names if ds not in counts]
    if missing:
        raise ConfigError(f"lm_groups: expected every datasource in a group, found none for {', '.join(missing)}")


def group_names(groups: LabelGroups, names_by_ds: Mapping[str, Mapping[int, str]]) -> dict[int, str]:
    """Names of the new values.

    A value is named by the first datasource of its group that names it; without a name it is ``label_<new value>``, as
    in trainings and predictions. Where two groups use one name for different values, the first datasource of the group
    is put before it, so that names stay different.
    """
    names: dict[int, str] = {}
    for new, (index, old) in groups.origin.items():
        found = [names_by_ds[ds][old] for ds in groups.groups[index] if old in names_by_ds.get(ds, {})]
        names[new] = found[0] if found else f"label_{new}"
    repeated = {name for name, n in Counter(names.values()).items() if n > 1}
    return {
        new: f"{groups.groups[groups.origin[new][0]][0]}_{name}" if name in repeated else name
        for new, name in names.items()
    }
