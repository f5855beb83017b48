"""Validation folds: seeded, grouped by patient, stratified, balanced, and kept once they are given."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fran.errors import ConfigError

Fold = int | Literal["all"]


@dataclass(frozen=True)
class FoldCase:
    """What the assignment of a case depends on.

    Attributes:
        case_id: unique.
        patient: cases of one patient stay together.
        datasource: to be spread evenly.
        labels: label values present, each to be spread evenly.
        content: digest of the image; copies stay together as if of one patient. Empty where unknown.
        test: kept for testing, gets no fold.
    """

    case_id: str
    patient: str
    datasource: str
    labels: frozenset[int] = frozenset()
    content: str = ""
    test: bool = False


@dataclass(frozen=True)
class Split:
    """Case ids to train on and to validate with, in order; `self_validated` where both are the same cases."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    self_validated: bool = False


def assign_folds(
    cases: Iterable[FoldCase], existing: Mapping[str, int], n_folds: int = 5, seed: int = 0
) -> dict[str, int]:
    """Validation fold of every case that is not kept for testing.

    Groups (a patient's cases, and copies of one image) are taken in order of their rarest property, each to one of the
    smallest folds, and among those to the one with the fewest cases of that property, then of the next rarest. So fold
    sizes differ by at most the largest group, and properties (datasource; each label of a datasource; no label) are
    spread as evenly as this allows. Ties are broken by a hash of the seed and the case ids, never by input order.

    Args:
        cases: of the project.
        existing: folds given earlier; they are kept, and a new case joins the fold of its group.
        n_folds: at least 2.
        seed: changes which cases come together.

    Returns:
        fold by case id, existing ones included.
    """
    if n_folds < 2:
        raise ConfigError(f"n_folds: expected at least 2, found {n_folds}")
    candidates = sorted((c for c in cases if not c.test), key=lambda c: c.case_id)
    folds = {c.case_id: existing[c.case_id] for c in candidates if c.case_id in existing}
    n_folds = max(n_folds, 1 + max(folds.values(), default=0))
    groups = _groups(candidates)
    rarity = Counter(token for case in candidates for token in _tokens(case))
    counts: list[Counter[str]] = [Counter() for _ in range(n_folds)]
    sizes = [0] * n_folds

    def put(cases_of_group: Iterable[FoldCase], fold: int) -> None:
        for case in cases_of_group:
            folds[case.case_id] = fold
            counts[fold].update(_tokens(case))
            sizes[fold] += 1

    for case in candidates:
        if case.case_id in existing:
            put([case], existing[case.case_id])
    fresh = []
    for group in groups:
        taken = Counter(folds[c.case_id] for c in group if c.case_id in folds)
        missing = [c for c in group if c.case_id not in folds]
        if taken:
            put(missing, min(taken, key=lambda f: (-taken[f], f)))
        else:
            fresh.append(missing)
    for group in sorted(fresh, key=lambda g: _order(g, rarity, seed)):
        tokens = sorted({t for c in group for t in _tokens(c)}, key=lambda t: (rarity[t], t))
        put(group, min(range(n_folds), key=lambda f: (sizes[f], [counts[f][t] for t in tokens], f)))
    return dict(sorted(folds.items()))


def make_split(cases: Mapping[str, int | None], fold: Fold) -> Split:
    """Cases to train on and to validate with.

    Args:
        cases: fold by case id, without test cases.
        fold: the fold to validate with; ``"all"`` trains on every case and validates with the same.

    Raises:
        ConfigError: no case is in `fold`; the message lists the folds there are.
    """
    everything = tuple(sorted(cases))
    if fold == "all":
        return Split(everything, everything, self_validated=True)
    present = sorted({f for f in cases.values() if f is not None})
    val = tuple(c for c in everything if cases[c] == fold)
    if not val:
        raise ConfigError(f"fold: expected one of {', '.join(map(str, present))} or all, found {fold!r}")
    train = tuple(c for c in everything if cases[c] is not None and cases[c] != fold)
    if not train:
        return Split(val, val, self_validated=True)
    return Split(train, val)


def _tokens(case: FoldCase) -> list[str]:
    labels = [f"{case.datasource}\0{label}" for label in sorted(case.labels)]
    return [case.datasource, *(labels or [f"{case.datasource}\0empty"])]


def _order(group: Sequence[FoldCase], rarity: Mapping[str, int], seed: int) -> tuple[int, str, int, str]:
    rarest = min({t for c in group for t in _tokens(c)}, key=lambda t: (rarity[t], t))
    names = "\0".join([str(seed), *(c.case_id for c in group)])
    return rarity[rarest], rarest, -len(group), hashlib.blake2b(names.encode(), digest_size=8).hexdigest()


def _groups(cases: Sequence[FoldCase]) -> list[list[FoldCase]]:
    """Cases joined by an equal patient or by equal image bytes, directly or through others."""
    parent = {c.case_id: c.case_id for c in cases}

    def root(case_id: str) -> str:
        while parent[case_id] != case_id:
            case_id = parent[case_id]
        return case_id

    seen: dict[tuple[str, str], str] = {}
    for case in cases:
        for key in (("patient", case.patient), ("content", case.content)):
            if key[1]:
                first = seen.setdefault(key, case.case_id)
                low, high = sorted((root(first), root(case.case_id)))
                parent[high] = low
    groups: dict[str, list[FoldCase]] = defaultdict(list)
    for case in cases:
        groups[root(case.case_id)].append(case)
    return [groups[key] for key in sorted(groups)]
