"""From frozen folds to the cases a run trains on and validates with, without leakage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fran.errors import ConfigError, choices
from fran.projects.folds import FoldCase, groups

Fold = int | str
"""Number of a fold, ``"all"``, or the name of a datasource (leave one datasource out)."""

SCHEMES = ("folds", "leave_one_datasource_out", "all")


@dataclass(frozen=True)
class Split:
    """Cases of one run.

    Attributes:
        train: case ids to train on, in order.
        val: case ids to validate with, in order.
        self_validated: whether both are the same cases.
        digest: of the whole frozen assignment, equal for every fold of it: runs with equal digests can be compared.
        left_out: case ids that are used on neither side, because their patient or image is on the other side
            or among the test cases.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    self_validated: bool = False
    digest: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """Frozen folds of a project: fold by case id (None where it has none yet), and how they were dealt."""

    folds: Mapping[str, int | None]
    n_folds: int = 5
    seed: int = 0


def make_split(cases: Sequence[FoldCase], assignment: Assignment, fold: Fold) -> Split:
    """Cases to train on and to validate with.

    No patient and no image is on both sides, nor in a test case and on either side, whatever was assigned: the
    case that would leak is left out (of training, where it is one of validation's kin).

    Args:
        cases: those to choose from, test cases included.
        assignment: their folds.
        fold: number of the fold to validate with; the name of a datasource to validate with, training on the others;
            ``"all"`` trains on every case and validates with the same.

    Raises:
        ConfigError: no case is in `fold`; the message lists what there is.
    """
    kin = {c.case_id: index for index, group in enumerate(groups(cases)) for c in group}
    tested = {kin[c.case_id] for c in cases if c.test}
    training = sorted((c for c in cases if not c.test), key=lambda c: c.case_id)
    usable = [c for c in training if kin[c.case_id] not in tested]
    scheme, place = _places(usable, assignment, fold)
    digest = split_digest(place, scheme, assignment)
    out = [c.case_id for c in training if kin[c.case_id] in tested]
    everything = tuple(c.case_id for c in usable)
    if scheme == "all" and everything:
        return Split(everything, everything, True, digest, tuple(out))
    val = tuple(c for c in everything if place[c] == fold)
    if not val:
        raise ConfigError(f"fold: found no case for {fold!r}; {_choices(fold, usable, assignment)}")
    seen = {kin[c] for c in val}
    others = [c for c in everything if place[c] != fold and place[c] is not None]
    train = tuple(c for c in others if kin[c] not in seen)
    out += [c for c in others if kin[c] in seen]
    if not train:
        if scheme == "leave_one_datasource_out":
            raise ConfigError(f"fold: expected another datasource to train on beside {fold!r}, found none")
        return Split(val, val, True, digest, tuple(sorted(out)))
    return Split(train, val, False, digest, tuple(sorted(out)))


def split_digest(place: Mapping[str, Fold | None], scheme: str, assignment: Assignment) -> str:
    """32 hexadecimal digits of a frozen assignment: its cases with their places, scheme, number of folds and seed."""
    dealt = f"{assignment.n_folds} {assignment.seed}" if scheme == "folds" else ""
    lines = [f"{scheme} {dealt}", *(f"{case}\t{place[case]}" for case in sorted(place))]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _places(cases: Iterable[FoldCase], assignment: Assignment, fold: Fold) -> tuple[str, dict[str, Fold | None]]:
    """Scheme that `fold` belongs to, and what takes the part of a fold's number in it, by case id."""
    if fold == "all":
        return "all", {c.case_id: "all" for c in cases}
    if isinstance(fold, str):
        return "leave_one_datasource_out", {c.case_id: c.datasource for c in cases}
    return "folds", {c.case_id: assignment.folds.get(c.case_id) for c in cases}


def _choices(fold: Fold, cases: Iterable[FoldCase], assignment: Assignment) -> str:
    listed = list(cases)
    numbers = sorted({f for c in listed if (f := assignment.folds.get(c.case_id)) is not None})
    names = sorted({c.datasource for c in listed})
    return choices(fold, [*map(str, numbers), "all", *(names if len(names) > 1 else [])])
