"""Content addresses: what a stage makes is named by a hash of everything that it depends on, and of nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

import numpy as np

from fran.errors import ConfigError
from fran.io.casefile import FORMAT


def canonical_json(value: Any) -> str:
    """JSON in which spellings of one meaning are one text.

    Keys are sorted and are strings, tuples are lists, sets are sorted lists, whole floats are integers, NumPy scalars
    and arrays are plain numbers and lists. Booleans are not numbers.

    Raises:
        ConfigError: NaN, infinity, or a type that has no JSON form.

    Example:
        >>> canonical_json({"b": (1.0, 2.5), "a": True}) == canonical_json({"a": True, "b": [1, 2.5]})
        True
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"parameters: expected finite numbers, found {value}")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Set):
        return sorted((_plain(v) for v in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(v) for v in value]
    if isinstance(value, PurePath):
        return value.as_posix()
    raise ConfigError(f"parameters: expected numbers, text, lists and dicts, found {value!r} ({type(value).__name__})")


def stage_key(parent: str | Sequence[str], params: Mapping[str, Any], version: int, stage: str = "source") -> str:
    """Content address of what a stage makes, in the form in which case files are written now.

    Args:
        parent: key of the parent artefact, or digests of the raw files (image, lm), in that order.
        params: every parameter that the stage reads, and no other.
        version: the stage's own version, raised when the same input would give another output.
        stage: name of the stage.

    Returns:
        32 hexadecimal digits.
    """
    parents = [parent] if isinstance(parent, str) else list(parent)
    text = canonical_json({"parents": parents, "stage": stage, "version": version, "format": FORMAT, "params": params})
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def readable_spacing(spacing_mm: Sequence[float]) -> str:
    """Spacing in a folder's name: two decimals and no dot.

    Example:
        >>> readable_spacing((1.5, 1.5, 3))
        'spc_150_150_300'
    """
    return "_".join(["spc", *(f"{value:.2f}".replace(".", "").zfill(3) for value in spacing_mm)])
