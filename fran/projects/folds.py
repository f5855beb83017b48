"""Validation folds: seeded, grouped by patient and content, stratified, balanced, and kept once they are given."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fran.errors import ConfigError

Stratum = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class FoldCase:
    """What the assignment of a case depends on.

    Attributes:
        case_id: unique.
        patient: cases of one patient stay together.
        datasource: to be spread evenly.
        labels: label values present; each combination is to be spread evenly.
        content: digest of the image; copies stay together as if of one patient. Empty where unknown.
        test: kept for testing, gets no fold.
    """

    case_id: str
    patient: str
    datasource: str
    labels: frozenset[int] = frozenset()
    content: str = ""
    test: bool = False

    @property
    def stratum(self) -> Stratum:
        """Datasource and labels present."""
        return self.datasource, tuple(sorted(self.labels))

    @property
    def bonds(self) -> list[tuple[str, str]]:
        """What must not be on both sides of a split, as (kind, value)."""
        return [(k, v) for k in ("patient", "content") if (v := getattr(self, k))]


def assign_folds(
    cases: Iterable[FoldCase], existing: Mapping[str, int], n_folds: int = 5, seed: int = 0
) -> dict[str, int]:
    """Validation fold of every case that is not kept for testing.

    A group is dealt as a whole (a patient's cases, and copies of one image): groups of several cases
    first, the largest first, then single cases, stratum by stratum, the rarest label first. Each goes to the fold that
    has the fewest cases of its stratum; among those to the smallest fold; among those to the one with the fewest
    cases of its rarest label, of the next rarest, and so on. Single cases of a stratum therefore differ by at most one
    between folds, also after additions; fold sizes differ by at most one where all were dealt at once. Ties are broken
    by a hash of the seed and the case ids, never by input order.

    Args:
        cases: of the project.
        existing: folds given earlier; they are kept, and a new case joins the fold of its group.
        n_folds: at least 2.
        seed: changes which cases come together.

    Returns:
        fold by case id, existing ones included.

    Raises:
        ConfigError: fewer than two folds.
    """
    if n_folds < 2:
        raise ConfigError(f"n_folds: expected at least 2, found {n_folds}")
    candidates = sorted((c for c in cases if not c.test), key=lambda c: c.case_id)
    deal = _Deal(candidates, max(n_folds, 1 + max((existing.get(c.case_id, 0) for c in candidates), default=0)))
    for case in candidates:
        if case.case_id in existing:
            deal.put([case], existing[case.case_id])
    fresh = []
    for group in groups(candidates):
        taken = Counter(deal.folds[c.case_id] for c in group if c.case_id in deal.folds)
        missing = [c for c in group if c.case_id not in deal.folds]
        if taken:
            deal.put(missing, min(taken, key=lambda f: (-taken[f], f)))
        else:
            fresh.append(missing)
    for group in sorted(fresh, key=lambda g: deal.order(g, seed)):
        deal.put(group, deal.best(group))
    return dict(sorted(deal.folds.items()))


def groups(cases: Sequence[FoldCase]) -> list[list[FoldCase]]:
    """Cases joined by an equal patient or image, directly or through others; in order of case id."""
    parent = {c.case_id: c.case_id for c in cases}

    def root(case_id: str) -> str:
        while parent[case_id] != case_id:
            parent[case_id] = parent[parent[case_id]]
            case_id = parent[case_id]
        return case_id

    seen: dict[tuple[str, str], str] = {}
    for case in cases:
        for bond in case.bonds:
            low, high = sorted((root(seen.setdefault(bond, case.case_id)), root(case.case_id)))
            parent[high] = low
    joined: dict[str, list[FoldCase]] = {}
    for case in sorted(cases, key=lambda c: c.case_id):
        joined.setdefault(root(case.case_id), []).append(case)
    return list(joined.values())


class _Deal:
    """Folds while they are dealt, with what each holds so far."""

    def __init__(self, candidates: Sequence[FoldCase], n_folds: int) -> None:
        self.folds: dict[str, int] = {}
        self._sizes = [0] * n_folds
        self._strata: list[Counter[Stratum]] = [Counter() for _ in range(n_folds)]
        self._tokens: list[Counter[str]] = [Counter() for _ in range(n_folds)]
        self._rarity = Counter(token for case in candidates for token in _tokens(case))

    def put(self, group: Iterable[FoldCase], fold: int) -> None:
        for case in group:
            self.folds[case.case_id] = fold
            self._sizes[fold] += 1
            self._strata[fold][case.stratum] += 1
            self._tokens[fold].update(_tokens(case))

    def best(self, group: Sequence[FoldCase]) -> int:
        strata = Counter(case.stratum for case in group)
        tokens = sorted({t for c in group for t in _tokens(c)}, key=lambda t: (self._rarity[t], t))

        def crowding(fold: int) -> tuple[int, int, list[int], int]:
            # for one case the count of its stratum; for more, what adds least to the sum of squared counts
            same = sum(n * self._strata[fold][stratum] for stratum, n in strata.items())
            return same, self._sizes[fold], [self._tokens[fold][t] for t in tokens], fold

        return min(range(len(self._sizes)), key=crowding)

    def order(self, group: Sequence[FoldCase], seed: int) -> tuple[int, int, str, Stratum, str]:
        rarest = min({t for c in group for t in _tokens(c)}, key=lambda t: (self._rarity[t], t))
        names = "\0".join([str(seed), *(c.case_id for c in group)])
        shuffled = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
        return -len(group), self._rarity[rarest], rarest, min(c.stratum for c in group), shuffled


def _tokens(case: FoldCase) -> list[str]:
    labels = [f"{case.datasource}\0{label}" for label in sorted(case.labels)]
    return [case.datasource, *(labels or [f"{case.datasource}\0empty"])]
