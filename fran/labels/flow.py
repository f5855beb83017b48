"""What becomes of every label of every datasource, from its raw files to a network's channel.

raw value --remapping_source--> --lm_groups--> (+ merged imported labels) --remapping_lbd | _whole--> stored value
stored value --remapping_train--> --classes--> output value = value of a prediction, one channel each
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fran.labels.remapping import IDENTITY, Remapping
from fran.labels.scheme import LabelScheme

#: What `LabelRules.remappings` may have remappings for.
LEVELS = ("source", "imported", "lbd", "whole", "train")


@dataclass(frozen=True)
class SourceLabels:
    """What is known about a datasource's label maps before any of them is opened.

    Attributes:
        name: of the datasource.
        values: label values met in the cases that may train, 0 left out.
        names: declared names by value.
        annotated: values of the structures that its annotators drew; None means the declared ones, or, where none
            are declared, those met.
        elsewhere: values met only in cases kept for testing; they get a number, and no class of their own.
    """

    name: str
    values: frozenset[int]
    names: Mapping[int, str] = field(default_factory=dict)
    annotated: frozenset[int] | None = None
    elsewhere: frozenset[int] = frozenset()

    @property
    def known(self) -> frozenset[int]:
        """Every value that may stand in a label map."""
        return (self.values | self.elsewhere | frozenset(self.names) | (self.annotated or frozenset())) - {0}

    @property
    def drawn(self) -> frozenset[int]:
        """Values whose absence from a label map means that the structure is not there."""
        if self.annotated is not None:
            return self.annotated
        return frozenset(self.names) or self.values | self.elsewhere


@dataclass(frozen=True)
class LabelRules:
    """What a plan says about labels.

    Attributes:
        groups: names of datasources whose values mean the same; None is one group.
        baked: which of ``lbd`` (``rbd`` reads the same) and ``whole`` preprocessing goes through after ``source``, in
            order; a level that two stages apply stands there twice.
        remappings: remapping by datasource, for each of `LEVELS` that the plan states.
        importing: datasources that have imported label maps.
        merge_imported: imported labels become part of the label maps, before the ``lbd`` remapping.
        imported_labels: values of the imported maps that count, before their remapping; None is all of them.
        classes: names of labels by the class that they make up; None is one class for each label.
    """

    groups: tuple[tuple[str, ...], ...] | None = None
    baked: tuple[str, ...] = ()
    remappings: Mapping[str, Mapping[str, Remapping | None]] = field(default_factory=dict)
    importing: tuple[str, ...] = ()
    merge_imported: bool = False
    imported_labels: frozenset[int] | None = None
    classes: Mapping[str, tuple[str, ...]] | None = None

    def at(self, level: str) -> Mapping[str, Remapping | None]:
        """Remapping by datasource at one of `LEVELS`."""
        return self.remappings.get(level, {})

    def imported(self, datasource: str) -> Remapping | None:
        """What becomes of the values in a datasource's imported maps; None keeps all."""
        remapping = self.at("imported").get(datasource)
        if self.imported_labels is None:
            return remapping
        kept = (remapping or IDENTITY).over(self.imported_labels)
        return Remapping.of(kept, 0, remapping.names if remapping else None)


@dataclass(frozen=True)
class Track:
    """One label of one datasource on its way.

    Attributes:
        datasource: whose label it is.
        raw: value in the datasource's files, or in the imported maps.
        raw_name: declared name, empty where there is none.
        met: a case that may train has it.
        drawn: the datasource's annotators drew it.
        imported: it comes from the imported maps.
        value: where it has come to.
        name: what it is called there, empty where nobody says.
        stored: its value in the case files.
    """

    datasource: str
    raw: int
    raw_name: str
    met: bool
    drawn: bool
    imported: bool = False
    value: int = 0
    name: str = ""
    stored: int = 0


@dataclass(frozen=True)
class LabelRow:
    """One line of `LabelFlow.describe`; channel 0 and output 0 are background."""

    datasource: str
    raw: int
    raw_name: str
    stored: int
    output: int
    channel: int
    name: str
    annotated: bool
    imported: bool


@dataclass(frozen=True)
class LabelFlow:
    """The whole way of a plan's labels, resolved.

    Attributes:
        scheme: output values, names and channels.
        stored: values in the case files, and their names.
        baked: for each datasource, the remapping that each level of preprocessing applies: ``source`` (numbering of
            the groups included), ``imported``, ``lbd``, ``whole``; levels that change nothing are left out.
        on_the_fly: for each datasource, output value by stored value, 0 for what becomes background.
        unannotated: for each datasource, output values that its annotators did not draw, so that their absence from a
            label map says nothing.
        tracks: every label.
        notes: what is worth knowing and no error.
    """

    scheme: LabelScheme
    stored: LabelScheme
    baked: Mapping[str, Mapping[str, Remapping]]
    on_the_fly: Mapping[str, Mapping[int, int]]
    unannotated: Mapping[str, tuple[int, ...]]
    tracks: tuple[Track, ...]
    notes: tuple[str, ...] = ()

    def origin(self, value: int) -> list[tuple[str, int, str]]:
        """(datasource, raw value, its name) of all that an output value is made of."""
        return list(self.scheme.origins.get(value, ()))

    def describe(self) -> list[LabelRow]:
        """One row for each label of each datasource, in the order of datasources and raw values."""
        channels = {0: 0} | {value: channel for channel, value in enumerate(self.scheme.values, start=1)}
        names = {0: "background"} | dict(self.scheme.names)
        return [
            LabelRow(
                t.datasource,
                t.raw,
                t.raw_name,
                t.stored,
                t.value,
                channels[t.value],
                names[t.value],
                t.drawn,
                t.imported,
            )
            for t in self.tracks
        ]

    def digest(self) -> str:
        """32 hexadecimal digits, equal when label maps, channels, names and losses would be equal."""
        baked = {ds: {k: r.canonical() for k, r in levels.items()} for ds, levels in self.baked.items()}
        flies = {ds: sorted(pairs.items()) for ds, pairs in self.on_the_fly.items()}
        left_out = {ds: list(values) for ds, values in self.unannotated.items()}
        said: list[Any] = [list(self.scheme.names.items()), baked, flies, left_out]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
