"""Steps of labels on their way: values and names move together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fran.labels.flow import SourceLabels, Track
from fran.labels.remapping import IDENTITY, Remapping

#: Value by the names that datasources insist on, each with the datasource.
Claims = dict[int, dict[str, str]]


def raw_tracks(source: SourceLabels) -> list[Track]:
    """A datasource's labels where they begin."""
    return [
        Track(source.name, v, name, v in source.values, v in source.drawn, value=v, name=name)
        for v in sorted(source.known)
        for name in [source.names.get(v, "")]
    ]


def imported_tracks(datasource: str, pairs: Mapping[int, int], names: Mapping[int, str]) -> list[Track]:
    """Labels that come to a datasource from imported maps, by their value there; those that become 0 are left out."""
    return [
        Track(datasource, old, "", True, True, imported=True, value=new, name=names.get(new, ""))
        for old, new in pairs.items()
        if new
    ]


def moved(
    tracks: Sequence[Track], remappings: Mapping[str, Remapping | None], scopes: Mapping[str, int] | None = None
) -> tuple[list[Track], dict[int, Claims]]:
    """Tracks after a remapping, with the names that they have then.

    A new value is called what the label table calls it, or what a label is called that had this value before; failing
    these, it has the names of all that went into it, joined by ``+``.

    Args:
        tracks: before.
        remappings: by datasource; None changes nothing.
        scopes: number of the group that a datasource belongs to, where values of different groups mean different
            things; None where a value means one thing everywhere.

    Returns:
        tracks, and for each scope the names that each value is called by with good reason: more than one is a conflict.
    """
    after: list[Track] = []
    claims: dict[int, Claims] = {}
    origins: dict[tuple[int, int], dict[str, None]] = {}
    for track in tracks:
        remapping = remappings.get(track.datasource) or IDENTITY
        new = remapping[track.value]
        scope = (scopes or {}).get(track.datasource, 0)
        claimed = remapping.names.get(new) or (track.name if new == track.value else "")
        if new and claimed:
            claims.setdefault(scope, {}).setdefault(new, {}).setdefault(claimed, track.datasource)
        if track.name:
            origins.setdefault((scope, new), {})[track.name] = None
        after.append(replace(track, value=new))
    return [_named(track, (scopes or {}).get(track.datasource, 0), claims, origins) for track in after], claims


def _named(
    track: Track, scope: int, claims: Mapping[int, Claims], origins: Mapping[tuple[int, int], Mapping[str, None]]
) -> Track:
    if not track.value:
        return replace(track, name="")
    claimed = claims.get(scope, {}).get(track.value)
    name = next(iter(claimed)) if claimed else "+".join(origins.get((scope, track.value), {}))
    return replace(track, name=name)


def numbered(tracks: Sequence[Track], mapping: Mapping[str, Mapping[int, int]]) -> list[Track]:
    """Tracks after the numbering of label groups; names stay."""
    return [replace(t, value=mapping[t.datasource].get(t.value, 0)) for t in tracks]


def stored(tracks: Sequence[Track]) -> list[Track]:
    """Tracks that remember their value in the case files."""
    return [replace(t, stored=t.value) for t in tracks]
