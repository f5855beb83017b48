"""Checkpoints on disk: atomic to write, plain data to read, and the folders of runs.

Everything is loaded with ``weights_only=True``, so that a checkpoint from somewhere else cannot run code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fran.errors import StoreError
from fran.io.files import atomic_path

FORMAT = 1
SECTION = "fran"
PREFIX = "network."
EMA = "fran_ema"
LAST = "last.ckpt"
BEST = "best.ckpt"
REQUIRED = ("network", "labels", "modality", "properties", "spacing", "patch_size", "mode")


@dataclass(frozen=True)
class ModelFile:
    """A trained network as plain data.

    Attributes:
        path: the checkpoint.
        meta: its ``fran`` section: network specification, labels, properties, spacing, patch size, configuration, ...
        state_dict: weights of the network alone; their moving average where the training kept one.
    """

    path: Path
    meta: dict[str, Any]
    state_dict: dict[str, Tensor]


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path | str) -> None:
    """Save atomically: a reader, or a process killed half-way, never leaves or meets half a file."""
    with atomic_path(path) as temporary:
        torch.save(dict(checkpoint), temporary)


def read_checkpoint(path: Path | str, map_location: Any = "cpu") -> dict[str, Any]:
    """The whole checkpoint.

    Raises:
        StoreError: missing, truncated, or holding more than tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"checkpoint: expected a file, found none at {path}; name a run folder or a .ckpt file")
    try:
        loaded: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise StoreError(
            f"checkpoint: {path} cannot be loaded as plain data ({type(error).__name__}: {str(error)[:200]});"
            f" use another checkpoint of the run, such as {BEST}, or train again"
        ) from error
    return loaded


def read_model(path: Path | str) -> ModelFile:
    """Network and description from a checkpoint, or from the best (else last) checkpoint of a run folder.

    Raises:
        StoreError: not a readable checkpoint, or not one that fran wrote.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in (BEST, LAST) if (path / name).is_file()), path / LAST)
    loaded = read_checkpoint(path)
    meta = loaded.get(SECTION) if isinstance(loaded, dict) else None
    lacking = [key for key in REQUIRED if not isinstance(meta, dict) or key not in meta]
    if lacking or not isinstance(meta, dict):
        raise StoreError(
            f"checkpoint: {path} was not written by fran: its section {SECTION!r} lacks {', '.join(lacking)}"
        )
    if meta.get("format") != FORMAT:
        raise StoreError(f"checkpoint: {path} has format {meta.get('format')}, expected {FORMAT}; update fran")
    weights = {k.removeprefix(PREFIX): v for k, v in loaded["state_dict"].items() if k.startswith(PREFIX)}
    return ModelFile(path, meta, loaded.get(EMA) or weights)


def new_run_folder(project_folder: Path | str, plan: str, model: str, fold: int | str) -> Path:
    """Create and return ``<project_folder>/<plan>-<model>-f<fold>-<n>`` with the first free n.

    A fold that is no number stands as it is: ``plan1-dynunet-all-1``, ``plan1-dynunet-lits-1``.
    Making the folder is the lock: of two jobs that start together each gets its own.
    """
    parent = Path(project_folder)
    parent.mkdir(parents=True, exist_ok=True)
    stem, _, first = next_run_name(parent, plan, model, fold).rpartition("-")
    number = int(first) - 1
    while True:
        number += 1
        try:
            (parent / f"{stem}-{number}").mkdir()
        except FileExistsError:
            continue
        return parent / f"{stem}-{number}"


def next_run_name(project_folder: Path | str, plan: str, model: str, fold: int | str) -> str:
    """The name that `new_run_folder` would give now."""
    place = f"f{fold}" if isinstance(fold, int) else fold
    stem = f"{plan}-{model}-{place}-"
    taken = [p.name.removeprefix(stem) for p in Path(project_folder).glob(f"{stem}*")]
    return f"{stem}{max((int(n) for n in taken if n.isdigit()), default=0) + 1}"
