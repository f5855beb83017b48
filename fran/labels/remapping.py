"""A change of label values: what is said in a plan becomes one canonical object, whatever its spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fran.errors import ConfigError, DataError
from fran.labels.scheme import MAX_LABEL

Rest = Literal["keep"] | int


@dataclass(frozen=True)
class Remapping:
    """New label values by old ones. Background, 0, always stays 0.

    Two remappings with one meaning are equal: pairs that say what `rest` says anyway are dropped, the others sorted.

    Args:
        pairs: (old value, new value), each old value once.
        rest: ``"keep"`` leaves values that are not listed as they are, a number is their new value.
        names: names of new values, where the remapping's origin knows them; no part of its meaning.

    Raises:
        ConfigError: a value outside 0 to 65535, an old value listed twice, or a new value for 0.

    Example:
        >>> Remapping.of({2: 1, 1: 1}).pairs
        ((2, 1),)
        >>> Remapping.of({1: 1, 2: 1}, rest=0).apply(np.array([0, 1, 2, 3], dtype=np.uint8)).tolist()
        [0, 1, 1, 0]
    """

    pairs: tuple[tuple[int, int], ...] = ()
    rest: Rest = "keep"
    names: Mapping[int, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        pairs = [(int(old), int(new)) for old, new in self.pairs]
        for value in (*(v for pair in pairs for v in pair), 0 if self.rest == "keep" else self.rest):
            if not isinstance(value, int) or not 0 <= value <= MAX_LABEL:
                raise ConfigError(f"remapping: expected label values from 0 to {MAX_LABEL}, found {value}")
        if len({old for old, _ in pairs}) < len(pairs):
            raise ConfigError(f"remapping: expected each old value once, found {pairs}")
        if any(old == 0 and new != 0 for old, new in pairs):
            raise ConfigError(f"remapping: 0 is background and stays 0, found {dict(pairs)}")
        telling = sorted((old, new) for old, new in pairs if old and new != self._rest_of(old))
        object.__setattr__(self, "pairs", tuple(telling))

    @classmethod
    def of(cls, mapping: Mapping[int, int], rest: Rest = "keep", names: Mapping[int, str] | None = None) -> Remapping:
        """Remapping of a dict of old to new values."""
        return cls(tuple(mapping.items()), rest, dict(names or {}))

    def _rest_of(self, old: int) -> int:
        return old if self.rest == "keep" or old == 0 else int(self.rest)

    @property
    def mapping(self) -> dict[int, int]:
        """The pairs that say more than `rest`."""
        return dict(self.pairs)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return not self.pairs and self.rest == "keep"

    def __getitem__(self, old: int) -> int:
        return self.mapping.get(old, self._rest_of(old))

    def over(self, values: Iterable[int]) -> dict[int, int]:
        """New value of each of `values`; 0 is left out.

        Example:
            >>> Remapping.of({1: 5}, rest=0).over([0, 1, 2])
            {1: 5, 2: 0}
        """
        mapping = self.mapping
        return {v: mapping.get(v, self._rest_of(v)) for v in sorted({int(v) for v in values} - {0})}

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Array of the same shape with new values, uint8 where they fit and else uint16.

        Raises:
            DataError: values that are not whole numbers from 0 to 65535.
        """
        if array.dtype.kind not in "ui":
            raise DataError(f"label map: expected whole numbers, found {array.dtype}")
        if array.dtype not in (np.uint8, np.uint16) and array.size:
            low, high = int(array.min()), int(array.max())
            if low < 0 or high > MAX_LABEL:
                raise DataError(f"label map: expected values from 0 to {MAX_LABEL}, found {low} to {high}")
        lookup = self._lookup(255 if array.dtype == np.uint8 else MAX_LABEL)
        if lookup.max() <= 255:
            return np.asarray(lookup.astype(np.uint8)[array])
        result = np.asarray(lookup[array])
        return result.astype(np.uint8) if result.max(initial=0) <= 255 else result

    def _lookup(self, largest: int) -> NDArray[np.uint16]:
        """New value by old value, from 0 to `largest`."""
        table = np.arange(largest + 1, dtype=np.uint16)
        if self.rest != "keep":
            table[1:] = self.rest
        for old, new in self.pairs:
            if old <= largest:
                table[old] = new
        return table

    def compose(self, later: Remapping) -> Remapping:
        """This remapping, then `later`.

        Example:
            >>> Remapping.of({1: 2}).compose(Remapping.of({2: 7}, rest=0)).over([1, 2, 3])
            {1: 7, 2: 7, 3: 0}
        """
        named = {old for old, _ in self.pairs} | {old for old, _ in later.pairs}
        rest = later.rest if self.rest == "keep" else later[int(self.rest)]
        names = {later[v]: n for v, n in self.names.items() if later[v] == v} | dict(later.names)
        return Remapping(tuple((old, later[self[old]]) for old in named), rest, names)

    def inverse(self, values: Iterable[int] | None = None) -> dict[int, tuple[int, ...]]:
        """Old values of each new one, for tracing a prediction back to what annotators drew.

        Args:
            values: the old values that exist; None takes the listed ones, and those they would be merged into.
        """
        if values is None:
            values = {v for pair in self.pairs for v in pair} if self.rest == "keep" else {o for o, _ in self.pairs}
        found: dict[int, list[int]] = {}
        for old, new in self.over(values).items():
            found.setdefault(new, []).append(old)
        return {new: tuple(olds) for new, olds in sorted(found.items())}

    def canonical(self) -> dict[str, Any]:
        """JSON-able form, equal for equal meanings: what content addresses are made of."""
        return {"pairs": [list(pair) for pair in self.pairs], "rest": self.rest}

    @classmethod
    def from_canonical(cls, stored: Mapping[str, Any]) -> Remapping:
        """Inverse of `canonical`."""
        return cls(tuple((old, new) for old, new in stored["pairs"]), stored["rest"])

    def __str__(self) -> str:
        said = [f"{old}: {new}" for old, new in self.pairs]
        return "{" + ", ".join(said if self.rest == "keep" else [*said, f"rest: {self.rest}"]) + "}"


IDENTITY = Remapping()


def composed(remappings: Iterable[Remapping | None]) -> Remapping:
    """One remapping for several, applied in their order; None changes nothing."""
    result = IDENTITY
    for remapping in remappings:
        result = result if remapping is None else result.compose(remapping)
    return result
