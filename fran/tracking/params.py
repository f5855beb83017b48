"""A configuration as MLflow parameters: flat, within MLflow's limits, and nothing shortened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

#: Longer values make the run table unreadable; they stay in the YAML artefact. (MLflow itself stops at 6000.)
MAX_VALUE = 250
MAX_KEY = 250
BATCH = 100
_KEY = re.compile(r"[/\w.\- :]+")


def flatten(config: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Dotted key to text, and the keys that were set aside because they or their values are too long for MLflow.

    Lists and empty mappings become JSON. Nothing is shortened: what does not fit is named and left to the YAML.

    Example:
        >>> flatten({"trainer": {"lr": 0.01, "betas": [0.9, 0.99]}, "notes": "x" * 300})
        ({'trainer.lr': '0.01', 'trainer.betas': '[0.9, 0.99]'}, ['notes'])
    """
    params: dict[str, str] = {}
    aside: list[str] = []
    for key, text in flatten_all(config).items():
        if len(text) > MAX_VALUE or len(key) > MAX_KEY or not _KEY.fullmatch(key):
            aside.append(key)
        else:
            params[key] = text
    return params, aside


def in_batches(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters that a run does not have yet, as many at a time as MLflow takes."""
    from mlflow.entities import Param

    listed = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(listed), BATCH):
        client.log_batch(run_id, params=listed[start : start + BATCH])


def flatten_all(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key to text, whatever its length.

    Example:
        >>> flatten_all({"trainer": {"lr": 0.01}, "tags": {}})
        {'trainer.lr': '0.01', 'tags': '{}'}
    """
    return {k: v if isinstance(v, str) else json.dumps(v, default=str) for k, v in _leaves(config, "")}


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
