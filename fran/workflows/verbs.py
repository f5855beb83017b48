"""What a verb of the command line is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
        module: of `fran.workflows`, with its `main`.
        help: one line.
        example: a command line.
        conf: its primary configuration where that is not called as the module; "-" where it has none.
        words: keys whose values may stand without their names, in this order; with "…" at its end the last of them
            takes several.
    """

    module: str
    help: str
    example: str
    conf: str = ""
    words: tuple[str, ...] = ()

    @property
    def primary(self) -> str:
        """Name of its primary configuration, empty where it has none."""
        return "" if self.conf == "-" else self.conf or self.module


@dataclass(frozen=True)
class Group:
    """Verbs about one subject: `fran <group> <verb>`; with a default also `fran <group> [key=value ...]`."""

    help: str
    verbs: dict[str, Verb]
    default: Verb | None = None

    @property
    def choices(self) -> dict[str, Verb]:
        """Every verb by its word; the default's is empty."""
        return {"": self.default, **self.verbs} if self.default else self.verbs


Verbs = Mapping[str, Verb | Group]
