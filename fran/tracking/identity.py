"""Which settings decide what a training becomes, and which only decide where and how quickly it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fran.tracking.params import flatten_all

#: Left out of a run's identity: the fold itself, places, names, and what changes the speed and not the outcome.
APART = (
    "fold", "run", "resume", "dry_run", "json", "paths", "preprocess", "tracking", "notes", "sweep", "search",
    "trainer.num_workers", "trainer.threads", "trainer.cache", "trainer.progress", "trainer.accelerator",
    "trainer.strategy", "trainer.val_tile_batch",
)  # fmt: skip


def identity(config: Mapping[str, Any], apart: tuple[str, ...] = APART) -> dict[str, Any]:
    """The part of a resolved configuration that two runs to be pooled have in common.

    Example:
        >>> identity({"fold": 1, "spacing": [1, 1, 2], "trainer": {"seed": 0, "threads": 4}, "paths": {}})
        {'spacing': [1, 1, 2], 'trainer': {'seed': 0}}
    """
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in apart:
            continue
        inner = tuple(a.removeprefix(f"{key}.") for a in apart if a.startswith(f"{key}."))
        # keys become text, as they are in the JSON that this is stored as: labels are whole numbers
        kept[str(key)] = identity(value, inner) if isinstance(value, Mapping) else value
    return kept


def settings_digest(settings: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of an `identity`; the order of keys does not matter.

    Example:
        >>> settings_digest({"a": 1, "b": {"c": 2.0}}) == settings_digest({"b": {"c": 2.0}, "a": 1})
        True
    """
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one ``key: before -> after`` each.

    Example:
        >>> differences({"trainer": {"seed": 0}, "mode": "lbd"}, {"trainer": {"seed": 1}, "mode": "lbd"})
        ['trainer.seed: 0 -> 1']
    """
    one, two = flatten_all(before), flatten_all(after)
    keys = [*one, *(key for key in two if key not in one)]
    return [f"{k}: {one.get(k, 'nothing')} -> {two.get(k, 'nothing')}" for k in keys if one.get(k) != two.get(k)]
