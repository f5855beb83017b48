"""New label values for each datasource, as a parameter of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fran.labels import IDENTITY, Remapping

EVERYBODY = "*"
"""Stands for every datasource, those to come included."""


@dataclass(frozen=True)
class Relabelling:
    """One remapping for all datasources, or one for each.

    Attributes:
        by_datasource: (datasource, remapping), sorted; ``"*"`` where one is for all of them, so that a datasource
            added to a project under such a remapping changes no content address.
    """

    by_datasource: tuple[tuple[str, Remapping], ...] = ()

    @classmethod
    def of(cls, remappings: Mapping[str, Remapping | None]) -> Relabelling:
        """Relabelling of a dict from datasource to remapping; None changes nothing.

        Example:
            >>> both = Remapping.of({1: 2})
            >>> Relabelling.of({"a": both, "b": both}) == Relabelling.of({"a": both})
            True
        """
        plain = {ds: remapping or IDENTITY for ds, remapping in remappings.items()}
        first = next(iter(plain.values()), IDENTITY)
        if all(remapping == first for remapping in plain.values()):
            return cls() if first.is_identity else cls(((EVERYBODY, first),))
        return cls(tuple((ds, plain[ds]) for ds in sorted(plain) if not plain[ds].is_identity))

    def at(self, datasource: str) -> Remapping:
        """The remapping of one datasource."""
        table = dict(self.by_datasource)
        return table.get(datasource, table.get(EVERYBODY, IDENTITY))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, equal for equal meanings."""
        return {ds: remapping.canonical() for ds, remapping in self.by_datasource}


SAME_LABELS = Relabelling()
"""Changes nothing."""
