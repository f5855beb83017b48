"""A search space: dotted keys of fran's configuration, each with the domain that its values are drawn from.

As yaml::

    trainer.optimiser.lr: {domain: qloguniform, low: 0.0001, high: 0.05, q: 0.0005}
    model.filters: {domain: choice, options: [16, 32]}
    model.max_levels: {domain: qrandint, low: 4, high: 6, q: 1, tune: false}

``tune: false`` keeps a domain at hand without searching it. Nothing here knows a particular search program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from fran.errors import ConfigError
from fran.tuning.domains import Domain, domain


@dataclass(frozen=True)
class Searched:
    """A key's domain, and whether it is searched at all."""

    domain: Domain
    tune: bool = True


class Space:
    """Domains by dotted key.

    Args:
        entries: key to its domain.

    Raises:
        ConfigError: a `Spec` whose key is not in the space, not searched, or needs itself.

    Example:
        >>> space = Space.from_yaml("trainer.optimiser.lr: {domain: loguniform, low: 0.001, high: 0.1}")
        >>> 0.001 <= space.sample(np.random.default_rng(0))["trainer.optimiser.lr"] <= 0.1
        True
    """

    def __init__(self, entries: Mapping[str, Searched]) -> None:
        self.entries: Mapping[str, Searched] = MappingProxyType(dict(entries))
        self._order = tuple(_ordered({k: e.domain for k, e in entries.items() if e.tune}))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and dict(self.entries) == dict(other.entries)

    def __hash__(self) -> int:
        return hash(tuple(self.entries))

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """One value for each searched key, in the order in which they stand."""
        return self.sample_each(lambda key: rng)

    def sample_each(self, generator: Callable[[str], np.random.Generator]) -> dict[str, Any]:
        """As `sample`, with a generator for each key."""
        drawn: dict[str, Any] = {}
        for key in self._order:
            drawn[key] = self.entries[key].domain.draw(generator(key), drawn)
        return {key: drawn[key] for key in self.entries if key in drawn}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Space:
        """A space from plain dicts; see `from_yaml`."""
        entries = {}
        for key, stated in content.items():
            if not isinstance(stated, Mapping):
                raise ConfigError(
                    f"{key}: expected a domain such as {{domain: uniform, low: 0, high: 1}}, found {stated}"
                )
            arguments = dict(stated)
            tune = arguments.pop("tune", True)
            if not isinstance(tune, bool):
                raise ConfigError(f"{key}: tune: expected true or false, found {tune}")
            entries[str(key)] = Searched(domain(str(key), arguments), tune)
        return cls(entries)

    @classmethod
    def from_yaml(cls, text: str) -> Space:
        """A space from yaml.

        Raises:
            ConfigError: no mapping, an unknown domain, a wrong or impossible argument.
        """
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"search space: expected yaml, found a mistake: {error}") from error
        if not isinstance(content or {}, dict):
            raise ConfigError("search space: expected dotted keys, each with a domain")
        return cls.from_plain(content or {})

    def to_plain(self) -> dict[str, dict[str, Any]]:
        """Plain dicts, `from_plain`'s inverse."""
        return {
            key: entry.domain.plain() | ({} if entry.tune else {"tune": False}) for key, entry in self.entries.items()
        }

    def to_yaml(self) -> str:
        """Yaml, one key a line; `from_yaml`'s inverse."""
        return "".join(f"{_flow(key)}: {_flow(stated)}\n" for key, stated in self.to_plain().items())


def _flow(value: Any) -> str:
    """One line of yaml."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9)
    return text.removesuffix("...\n").strip()


def _ordered(domains: Mapping[str, Domain]) -> list[str]:
    """Keys in an order in which what a domain needs is drawn before it."""
    ordered: list[str] = []
    waiting = dict(domains)
    while waiting:
        ready = [key for key, one in waiting.items() if not one.needs or one.needs in ordered]
        if not ready:
            key = next(iter(waiting))
            raise ConfigError(f"{key}: expected a searched key that does not depend on it, found {waiting[key].needs}")
        ordered += ready
        for key in ready:
            del waiting[key]
    return ordered
