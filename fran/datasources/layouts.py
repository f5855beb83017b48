"""How a folder of raw data is laid out: fran's own way, or one that others use, which is then read in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fran.datasources.pairing import Pairing
from fran.errors import CaseProblem, ConfigError

Channel = int | str


@dataclass(frozen=True)
class Layout:
    """A layout that fran recognised, with what the folder says about its own data.

    Attributes:
        kind: in words, such as ``"nnU-Net v2"``.
        naming: where images and label maps are, and how their cases are called.
        labels: label names by value, where the folder declares some.
        modality: of the images, where the folder declares it.
        notes: what is worth knowing about the folder.
        pair: matches images with label maps; is given the datasource's name, and what to put before case ids.
    """

    kind: str
    naming: str
    labels: Mapping[int, str] | None
    modality: str | None
    notes: tuple[CaseProblem, ...]
    pair: Callable[[str, str | None], Pairing]


def recognise(folder: Path, channel: Channel | None = None, derivative: str | None = None) -> Layout | None:
    """The layout of a folder; None where it is fran's own, or none that fran knows.

    Args:
        folder: of raw data.
        channel: which of several images of a case is taken, by number or name.
        derivative: which of several kinds of label maps is taken, by a part of its name; for BIDS.

    Raises:
        ConfigError: the folder cannot be read without a choice, or there is no such choice.
    """
    from fran.datasources import bids, nnunet

    own = (folder / "images").is_dir() or (folder / "lms").is_dir()
    if not own and not nnunet.is_one(folder) and bids.is_one(folder):
        return bids.layout(folder, channel, derivative)
    if derivative is not None:
        raise ConfigError(f"derivative: expected a BIDS data set, found {folder}; leave derivative away")
    if not own and nnunet.is_one(folder):
        return nnunet.layout(folder, channel)
    if channel is not None:
        raise ConfigError(
            f"channel: expected a folder of nnU-Net or BIDS, whose cases have several images, found {folder}; "
            "leave channel away"
        )
    return None


def default_name(folder: Path) -> str:
    """Name of the datasource in a folder that fran did not name: its letters and digits."""
    return re.sub(r"[^A-Za-z0-9]+", "_", folder.name).strip("_")


def patient_of(folder: Path, name: str) -> str:
    """Who a case of a foreign layout is of: the same for every datasource that reads this folder, and for no other."""
    return f"{default_name(folder)}/{name}"


def case_ids(names: Iterable[str], prefix: str | None) -> dict[str, str]:
    """Case id by the name that a foreign layout gives a case: the same, but for characters that file systems mind.

    Args:
        names: all of them.
        prefix: put before each, with a ``_``.

    Raises:
        ConfigError: two names would become one id.

    Example:
        >>> case_ids(["la_003", "la 4.1"], "heart")
        {'la_003': 'heart_la_003', 'la 4.1': 'heart_la-4-1'}
    """
    ids: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)
        ids[name] = f"{prefix}_{plain}" if prefix else plain
        other = taken.setdefault(ids[name], name)
        if other != name:
            raise ConfigError(f"case names: expected names that differ in letters or digits, found {other!r}, {name!r}")
    return ids
