"""Settings given as Python values, as the overrides of a command line that mean the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from fran.errors import ConfigError

_BARE = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_NO_TEXT = ("null", "true", "false", "nan", "inf")  # bare they are values; Hydra looks at no case
_IN_KEYS = re.compile(r"[\\()\[\]{}:=, \t]")
_KEY = re.compile(r"\d+|[A-Za-z_][\w ./\\()\[\]{}:=,+*%@$?|-]*", re.ASCII)


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """One override a setting.

    Args:
        settings: values by key as on a command line, such as ``trainer.max_epochs`` or ``model``: text, paths, numbers,
            booleans, None, and lists and mappings of these.

    Raises:
        ConfigError: a value of another type, or one that no command line can hold.

    Example:
        >>> overrides_of({"model": "dynunet", "spacing": (0.8, 0.8, 1.5), "run": None, "labels": {1: "left kidney"}})
        ['model=dynunet', 'spacing=[0.8,0.8,1.5]', 'run=null', "labels={1:'left kidney'}"]
    """
    return [f"{key}={_text(value, key)}" for key, value in settings.items()]


def _text(value: Any, key: str) -> str:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:  # a number of NumPy's or torch's
        value = item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {"inf": "inf", "-inf": "-inf"}.get(str(value), "nan")
    if isinstance(value, str | PurePath):
        return _string(str(value), key)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(k, key)}:{_text(v, key)}" for k, v in value.items()) + "}"
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes):
        return "[" + ",".join(_text(v, key) for v in value) + "]"
    expected = "text, a path, a number, a boolean, None, or a list or dict of these"
    raise ConfigError(f"{key}: expected {expected}, found {value!r} of type {type(value).__name__}")


def _string(text: str, key: str) -> str:
    if "\n" in text or "\r" in text:
        raise ConfigError(f"{key}: expected one line of text, found {text!r}")
    if _BARE.fullmatch(text) and text.lower() not in _NO_TEXT:
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _key(key: Any, setting: str) -> str:
    """A mapping's key; Hydra's grammar has no quotes for it."""
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if not isinstance(key, str) or key.lower() in _NO_TEXT or not _KEY.fullmatch(key):
        expected = "whole numbers, or names of plain letters, digits and most signs, as keys"
        raise ConfigError(f"{setting}: expected {expected}, found {key!r}; other names can stand in a plan file")
    return _IN_KEYS.sub(lambda m: f"\\{m[0]}", key)
