"""Resolve the way of labels from what datasources hold and a plan says; every problem is found in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fran.errors import ConfigError, SettingProblem, raise_for_settings
from fran.labels.classes import chosen_classes, every_label
from fran.labels.flow import LabelFlow, LabelRules, SourceLabels, Track
from fran.labels.groups import check_groups, group_labels
from fran.labels.remapping import IDENTITY, Remapping, composed
from fran.labels.scheme import LabelScheme, Origin
from fran.labels.steps import Claims, imported_tracks, moved, numbered, raw_tracks, stored

Groups = tuple[tuple[str, ...], ...]
Numbers = Mapping[str, Mapping[int, int]]
_FEW = 6


@dataclass
class _Findings:
    problems: list[SettingProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def resolve_labels(sources: Sequence[SourceLabels], rules: LabelRules) -> LabelFlow:
    """Follow every label of the plan's datasources.

    With several groups the numbers count through the datasources given here, so a plan that uses one datasource alone
    has that datasource's own values.

    Args:
        sources: the plan's datasources.
        rules: what the plan says.

    Raises:
        SettingsFailed: every conflict, unknown class, class that nobody annotates, and undeclared label.
        ConfigError: groups that do not hold each datasource once.
    """
    found = _Findings()
    found.problems += _undeclared(sources)
    tracks = [track for source in sources for track in raw_tracks(source)]
    tracks, numbers = _to_source(tracks, _groups(sources, rules, found), rules, found)
    tracks = stored(_to_stored(tracks, rules, found))
    on_disk = every_label(tracks)[1]
    tracks = _remapped(tracks, "train", rules, found)
    tracks, scheme = _to_classes(tracks, rules, found)
    raise_for_settings(found.problems)
    names = [source.name for source in sources]
    return LabelFlow(
        scheme=replace(scheme, origins={v: _origins(v, tracks) for v in scheme.values}),
        stored=on_disk,
        baked={ds: _baked(ds, numbers, rules) for ds in names},
        on_the_fly={ds: {t.stored: t.value for t in tracks if t.datasource == ds and t.stored} for ds in names},
        unannotated={ds: _unannotated(ds, tracks, scheme) for ds in names},
        tracks=tuple(tracks),
        notes=tuple(dict.fromkeys(found.notes)),
    )


def _origins(value: int, tracks: Sequence[Track]) -> tuple[Origin, ...]:
    return tuple((t.datasource, t.raw, t.raw_name) for t in tracks if t.value == value)


def _undeclared(sources: Sequence[SourceLabels]) -> Iterator[SettingProblem]:
    """Labels in the data that the datasource says nobody drew."""
    for source in sources:
        strangers = sorted((source.values | source.elsewhere) - source.drawn - {0})
        if strangers:
            key = "labels" if source.annotated is None else "annotated"
            there = ", ".join(_called(v, source.names) for v in strangers)
            expected = f"every label of its label maps; they hold {there} too"
            yield SettingProblem(f"datasource.{source.name}.{key}", sorted(source.drawn), expected)


def _called(value: int, names: Mapping[int, str]) -> str:
    return f"{value} ({names[value]})" if value in names else str(value)


def _groups(sources: Sequence[SourceLabels], rules: LabelRules, found: _Findings) -> Groups:
    """Groups of the plan's datasources alone."""
    names = [source.name for source in sources]
    if rules.groups is None:
        return (tuple(names),)
    groups = tuple(part for group in rules.groups if (part := tuple(ds for ds in group if ds in names)))
    try:
        check_groups(groups, names)
    except ConfigError as error:
        found.problems.append(SettingProblem("lm_groups", _plain(rules.groups), str(error).removeprefix("lm_groups: ")))
        return tuple((name,) for name in names)  # no conflicts that the true groups might not have
    return groups


def _plain(groups: Groups) -> list[list[str]]:
    return [list(group) for group in groups]


def _to_source(
    tracks: Sequence[Track], groups: Groups, rules: LabelRules, found: _Findings
) -> tuple[list[Track], Numbers]:
    """From raw values to those at fixed spacing: remapping_source, then the numbering of the groups."""
    scopes = {ds: index for index, group in enumerate(groups) for ds in group}
    remappings = rules.at("source")
    found.notes += _idle("remapping_source", tracks, remappings)
    after, claims = moved(tracks, remappings, scopes)
    stated = "null, one group" if rules.groups is None else _plain(groups)
    found.problems += _conflicts(stated, groups, claims)
    found.problems += _homonyms(stated, groups, after)
    if len(groups) == 1:
        return after, {}
    labels = {ds: {t.value for t in after if t.datasource == ds} for group in groups for ds in group}
    numbers = group_labels(groups, labels).mapping
    return numbered(after, numbers), numbers


def _conflicts(stated: object, groups: Groups, claims: Mapping[int, Claims]) -> Iterator[SettingProblem]:
    """One value with two names."""
    for labels in claims.values():
        for label, names in labels.items():
            if len(names) > 1:
                said = " and ".join(f"'{name}' in {ds}" for name, ds in names.items())
                free = max(labels) + 1
                *_, last = names.values()
                yield SettingProblem(
                    "lm_groups",
                    stated,
                    f"one meaning for each label of a group, found {label} to be {said}; {_apart(groups)}, or give one "
                    f"another value: remapping_source={{{last}: {{{label}: {free}}}}}",
                )


def _homonyms(stated: object, groups: Groups, tracks: Sequence[Track]) -> Iterator[SettingProblem]:
    """One name for two values of a group."""
    for group in groups:
        found: dict[str, dict[int, str]] = {}
        for t in tracks:
            if t.datasource in group and t.value and t.name:
                found.setdefault(t.name, {}).setdefault(t.value, t.datasource)
        for name, labels in found.items():
            if len(labels) > 1:
                said = " and ".join(f"{label} in {ds}" for label, ds in labels.items())
                kept, (moving, ds) = next(iter(labels)), list(labels.items())[-1]
                yield SettingProblem(
                    "lm_groups",
                    stated,
                    f"one label for each name of a group, found '{name}' to be {said}; {_apart(groups)}, or make the "
                    f"labels one: remapping_source={{{ds}: {{{moving}: {kept}}}}}",
                )


def _apart(groups: Groups) -> str:
    """Advice to part datasources, spelt out where they are few."""
    names = [ds for group in groups for ds in group]
    example = f": lm_groups=[{','.join(f'[{ds}]' for ds in names)}]" if len(names) <= _FEW else ""
    return f"put the datasources into groups of their own{example}"


def _to_stored(tracks: Sequence[Track], rules: LabelRules, found: _Findings) -> list[Track]:
    """From fixed spacing to the case files that training reads."""
    after = list(tracks)
    if rules.merge_imported and "lbd" in rules.baked:
        for ds in rules.importing:
            after += _merged(ds, rules, found)
        after, claims = moved(after, {})
        key = "remapping_imported"
        found.problems += _imported_conflicts(key, claims)
    for level in rules.baked:
        after = _remapped(after, level, rules, found)
    return after


def _merged(datasource: str, rules: LabelRules, found: _Findings) -> list[Track]:
    """Labels that the imported maps add to a datasource, known without opening a file."""
    remapping = rules.imported(datasource)
    if remapping is not None and remapping.rest == 0:
        return imported_tracks(datasource, remapping.mapping, remapping.names)
    if remapping is not None and remapping.names:
        return imported_tracks(datasource, remapping.over(remapping.names), remapping.names)
    found.problems.append(
        SettingProblem(
            "imported_labels",
            None,
            f"the labels that the imported maps of '{datasource}' add, because merge_imported_labels makes classes of "
            "them: a list of values, a name such as TSL.lungs, or a remapping_imported that lists them",
        )
    )
    return []


def _imported_conflicts(key: str, claims: Mapping[int, Claims]) -> Iterator[SettingProblem]:
    for labels in claims.values():
        for label, names in labels.items():
            if len(names) > 1:
                said = " and ".join(f"'{name}'" for name in names)
                yield SettingProblem(
                    key,
                    f"… {label}",
                    f"values that the case's own labels do not have, found {label} to be {said}; send the imported "
                    f"label to another value, from {max(labels) + 1} on",
                )


def _remapped(tracks: Sequence[Track], level: str, rules: LabelRules, found: _Findings) -> list[Track]:
    remappings = rules.at(level)
    found.notes += _idle(f"remapping_{level}", tracks, remappings)
    return moved(tracks, remappings)[0]


def _idle(key: str, tracks: Sequence[Track], remappings: Mapping[str, Remapping | None]) -> Iterator[str]:
    """Labels that a remapping lists though no datasource has them; what the label table lists is no mistake."""
    listed: dict[int, set[str]] = {}
    for ds, remapping in remappings.items():
        for old in remapping.mapping if remapping is not None and not remapping.names else ():
            listed.setdefault(old, set()).add(ds)
    for old, holders in sorted(listed.items()):
        if not any(t.value == old and t.datasource in holders for t in tracks):
            yield f"{key}: lists label {old}, which {', '.join(sorted(holders))} do not have"


def _to_classes(tracks: Sequence[Track], rules: LabelRules, found: _Findings) -> tuple[list[Track], LabelScheme]:
    if rules.classes is None:
        return every_label(tracks)
    after, scheme, problems, notes = chosen_classes(tracks, rules.classes)
    found.problems += problems
    found.notes += notes
    return after, scheme


def _baked(datasource: str, numbers: Numbers, rules: LabelRules) -> dict[str, Remapping]:
    """Remapping of each level of preprocessing, where it changes something."""
    numbering = Remapping.of(numbers[datasource]) if datasource in numbers else None
    levels = {"source": composed([rules.at("source").get(datasource), numbering])}
    if datasource in rules.importing:
        levels["imported"] = rules.imported(datasource) or IDENTITY
    levels |= {level: composed([rules.at(level).get(datasource)]) for level in rules.baked}
    return {level: remapping for level, remapping in levels.items() if not remapping.is_identity}


def _unannotated(datasource: str, tracks: Sequence[Track], scheme: LabelScheme) -> tuple[int, ...]:
    drawn = {t.value for t in tracks if t.datasource == datasource and t.drawn}
    return tuple(v for v in scheme.values if v not in drawn)
