"""Kinds of values that a search draws from.

Ranges are closed on both sides, except `RandInt`, whose upper end is left out as in Python's ``range``. A quantised
kind (``q...``) draws multiples of q that lie in the range; the ends need not be multiples themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

from fran.errors import ConfigError, choices

Drawn = Mapping[str, Any]


@dataclass(frozen=True)
class Domain:
    """Base of the kinds; `name` is what yaml calls it.

    Attributes:
        needs: the key whose drawn value this one is worked out from; empty for none.
    """

    name: ClassVar[str] = ""

    @property
    def needs(self) -> str:
        """Key that has to be drawn first."""
        return ""

    def problem(self) -> str:
        """What is impossible about it, or nothing."""
        return ""

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> Any:
        """One value; `drawn` holds those drawn before."""
        raise TypeError(type(self).__name__)

    def plain(self) -> dict[str, Any]:
        """As it stands in yaml; what is None is left out."""
        stated = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"domain": self.name, **{k: _plain(v) for k, v in stated.items() if v is not None}}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _not_finite(*values: float) -> bool:
    return not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)


def _range_problem(low: float, high: float, *, positive: bool = False) -> str:
    if _not_finite(low, high):
        return "low and high: expected numbers"
    if low > high:
        return "low: expected at most high"
    return "low: expected a number above 0" if positive and low <= 0 else ""


@dataclass(frozen=True)
class Choice(Domain):
    """One of `options`, each as likely."""

    name: ClassVar[str] = "choice"
    options: tuple[Any, ...]

    def problem(self) -> str:
        """Without options there is nothing to draw."""
        return "" if self.options else "options: expected one at least"

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> Any:
        """One option."""
        return _plain(self.options[int(rng.integers(len(self.options)))])


@dataclass(frozen=True)
class Uniform(Domain):
    """A number, evenly."""

    name: ClassVar[str] = "uniform"
    low: float
    high: float

    def problem(self) -> str:
        """Ends in the wrong order."""
        return _range_problem(self.low, self.high)

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> float:
        """Low <= x <= high."""
        return _even(rng, self.low, self.high)


@dataclass(frozen=True)
class LogUniform(Domain):
    """A number above 0, its logarithm evenly."""

    name: ClassVar[str] = "loguniform"
    low: float
    high: float

    def problem(self) -> str:
        """Ends in the wrong order, or not above 0."""
        return _range_problem(self.low, self.high, positive=True)

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> float:
        """Low <= x <= high."""
        return _log_draw(rng, self.low, self.high)


@dataclass(frozen=True)
class RandInt(Domain):
    """A whole number, low <= n < high."""

    name: ClassVar[str] = "randint"
    low: int
    high: int

    def problem(self) -> str:
        """No whole number between the ends."""
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in (self.low, self.high))
        return "" if whole and self.low < self.high else "low and high: expected whole numbers, low below high"

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> int:
        """Low <= n < high."""
        return int(rng.integers(self.low, self.high))


@dataclass(frozen=True)
class _Quantised(Domain):
    low: float
    high: float
    q: float

    def problem(self) -> str:
        """Ends in the wrong order, a step that is not above 0, or no multiple of it in the range."""
        if _not_finite(self.q) or self.q <= 0:
            return "q: expected a number above 0"
        wrong = _range_problem(self.low, self.high, positive=self.name == "qloguniform")
        first, last = (0, 0) if wrong else self.steps()
        return wrong or ("" if first <= last else "q: expected a multiple of it from low to high")

    def steps(self) -> tuple[int, int]:
        """The first and last multiple of q in the range."""
        q = Decimal(str(self.q))
        return math.ceil(Decimal(str(self.low)) / q), math.floor(Decimal(str(self.high)) / q)

    def _multiple(self, step: int) -> Any:
        return float(Decimal(str(self.q)) * step)


@dataclass(frozen=True)
class QUniform(_Quantised):
    """A multiple of q, each as likely."""

    name: ClassVar[str] = "quniform"

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> float:
        """A multiple of q from low to high."""
        first, last = self.steps()
        return float(self._multiple(int(rng.integers(first, last + 1))))


@dataclass(frozen=True)
class QRandInt(_Quantised):
    """A whole multiple of q, each as likely; the upper end counts."""

    name: ClassVar[str] = "qrandint"

    def problem(self) -> str:
        """Numbers that are not whole, besides what `_Quantised` finds."""
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in (self.low, self.high, self.q))
        return super().problem() if whole else "low, high and q: expected whole numbers"

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> int:
        """A multiple of q from low to high."""
        first, last = self.steps()
        return int(self.q) * int(rng.integers(first, last + 1))


@dataclass(frozen=True)
class QLogUniform(_Quantised):
    """A number whose logarithm is drawn evenly, moved to the nearest multiple of q in the range."""

    name: ClassVar[str] = "qloguniform"

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> float:
        """A multiple of q from low to high."""
        first, last = self.steps()
        nearest = round(_log_draw(rng, self.low, self.high) / self.q)
        return float(self._multiple(min(max(nearest, first), last)))


@dataclass(frozen=True)
class Range(Domain):
    """One of low, low + step, ... up to high; without a step any number between them."""

    name: ClassVar[str] = "range"
    low: float
    high: float
    step: float | None = None

    def problem(self) -> str:
        """Ends in the wrong order, or a step that is not above 0."""
        if self.step is not None and (_not_finite(self.step) or self.step <= 0):
            return "step: expected a number above 0"
        return _range_problem(self.low, self.high)

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> float:
        """Low <= x <= high."""
        if self.step is None:
            return _even(rng, self.low, self.high)
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        count = math.floor((Decimal(str(self.high)) - low) / step)
        value = low + step * int(rng.integers(0, count + 1))
        whole = isinstance(self.low, int) and isinstance(self.step, int)
        return int(value) if whole else float(value)


@dataclass(frozen=True)
class DoubleRange(Domain):
    """A range [a, b]: a evenly from the pair `low`, b evenly from the pair `high`."""

    name: ClassVar[str] = "double_range"
    low: tuple[float, float]
    high: tuple[float, float]

    def problem(self) -> str:
        """Pairs in the wrong order, or that overlap."""
        pairs = all(isinstance(pair, tuple) and len(pair) == 2 for pair in (self.low, self.high))
        if not pairs:
            return "low and high: expected a pair of numbers each"
        return _range_problem(*self.low) or _range_problem(*self.high) or _range_problem(self.low[1], self.high[0])

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> list[float]:
        """[a, b], a <= b."""
        return [_even(rng, *pair) for pair in (self.low, self.high)]


@dataclass(frozen=True)
class Spec(Domain):
    """A value worked out from another one that is drawn: min(at_most, drawn[of] + u), u evenly from the pair `plus`.

    It stands for the rules that the old program kept in code: the upper momentum was the lower one plus 0.05 to 0.35,
    0.99 at most. With ``plus: [0, 0]`` two keys share one draw.
    """

    name: ClassVar[str] = "spec"
    of: str
    plus: tuple[float, float] = (0.0, 0.0)
    at_most: float | None = None

    @property
    def needs(self) -> str:
        """The key that is drawn first."""
        return self.of

    def problem(self) -> str:
        """A pair that is none, or in the wrong order."""
        if not self.of or not (isinstance(self.plus, tuple) and len(self.plus) == 2):
            return "of and plus: expected a key and a pair of numbers"
        return _range_problem(*self.plus)

    def draw(self, rng: np.random.Generator, drawn: Drawn) -> float:
        """The other key's value plus what is drawn."""
        value: float = drawn[self.of]
        if self.plus != (0.0, 0.0):
            value = value + _even(rng, *self.plus)
        return value if self.at_most is None else min(self.at_most, value)


KINDS: dict[str, type[Domain]] = {
    kind.name: kind
    for kind in (
        Choice,
        Uniform,
        LogUniform,
        RandInt,
        QUniform,
        QRandInt,
        QLogUniform,
        Range,
        DoubleRange,
        Spec,
    )
}


def domain(key: str, stated: Mapping[str, Any]) -> Domain:
    """A domain from its plain form.

    Args:
        key: whose domain it is, for messages.
        stated: ``{"domain": "uniform", "low": 0, "high": 1}`` and its like.

    Raises:
        ConfigError: an unknown kind, a wrong argument, or one that is impossible.
    """
    name = str(stated.get("domain"))
    if name not in KINDS:
        raise ConfigError(f"{key}: unknown domain '{name}'; {choices(name, list(KINDS))}")
    arguments = {k: _frozen(v if k == "options" else _numeric(v)) for k, v in stated.items() if k != "domain"}
    make: Callable[..., Domain] = KINDS[name]
    try:
        made = make(**arguments)
    except TypeError as error:
        wanted = ", ".join(item.name for item in fields(KINDS[name]))
        raise ConfigError(f"{key}: expected {name} with {wanted}, found {', '.join(arguments) or 'nothing'}") from error
    problem = made.problem()
    if problem:
        raise ConfigError(f"{key} ({name}): {problem}; found {made.plain()}")
    return made


def _numeric(value: Any) -> Any:
    """Numbers that yaml takes for text, such as 1e-4."""
    if isinstance(value, list | tuple):
        return [_numeric(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _clamped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _even(rng: np.random.Generator, low: float, high: float) -> float:
    return _clamped(low + float(rng.random()) * (high - low), low, high)


def _log_draw(rng: np.random.Generator, low: float, high: float) -> float:
    return _clamped(math.exp(_even(rng, math.log(low), math.log(high))), low, high)
