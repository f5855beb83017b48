"""The part of a bundle that fran predicts from: weights as state dicts, and what belongs to each as plain data.

``models/members.pt`` is a list of ``{weights, sha256, meta}``; everything is loaded with ``weights_only=True``, and the
TorchScript and the configurations beside it, which could run code, are never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fran.errors import DataError, StoreError
from fran.io.archives import safe_extract
from fran.io.checkpoint import FORMAT, REQUIRED, ModelFile, read_checkpoint
from fran.io.files import file_digest
from fran.remote.copies import sha256_of

MEMBERS = "models/members.pt"
#: What a prediction does not need, and what may tell of patients, people and machines.
PRIVATE = ("paths", "tracking", "preprocess", "hydra")


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle, or a file may be one."""
    return (path / MEMBERS).is_file() or (path.is_file() and path.suffix.lower() == ".zip")


def write_members(models: Sequence[ModelFile], folder: Path) -> list[dict[str, Any]]:
    """Write the weights and their description below a bundle's folder; the description, as it was written."""
    members = []
    for index, model in enumerate(models):
        weights = folder / "models" / ("model.pt" if len(models) == 1 else f"model_{index}.pt")
        torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict.items()}, weights)
        members.append({"weights": weights.name, "sha256": sha256_of(weights), "meta": public_meta(model.meta)})
    torch.save({"format": FORMAT, "members": members}, folder / MEMBERS)
    return members


def public_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Description of a model without case ids and folders of the place it was trained at."""
    datasets = {key: value for key, value in (meta.get("datasets") or {}).items() if key == "digest"}
    datasets |= {
        f"n_{part}": len(meta["datasets"][part]) for part in ("train", "val") if part in (meta.get("datasets") or {})
    }
    config = {key: value for key, value in (meta.get("config") or {}).items() if key not in PRIVATE}
    return {**meta, "datasets": datasets, "config": config}


def read_bundle(path: Path, unpacked: Path) -> list[ModelFile]:
    """The models of a bundle.

    Args:
        path: folder, or zip.
        unpacked: parent of the folders that zips are unpacked into, one for each content.

    Raises:
        DataError: a zip that must not be unpacked, see `fran.io.archives.safe_extract`.
        StoreError: not a bundle, damaged, or holding more than tensors and plain data.
    """
    if path.is_file():
        folder = unpacked / file_digest(path)
        if not folder.is_dir():
            safe_extract(path, folder)
        path = _inner(folder, path)
    listed = read_checkpoint(path / MEMBERS)
    members = listed.get("members") if isinstance(listed, dict) else None
    if not isinstance(members, list) or not members or listed.get("format") != FORMAT:
        raise StoreError(f"bundle: {path / MEMBERS} was not written by this version of fran; export the run again")
    return [_member(path, member) for member in members]


def _inner(folder: Path, archive: Path) -> Path:
    """The bundle in an unpacked folder: at its top, or in the one folder there."""
    tops = [folder, *(entry for entry in sorted(folder.iterdir()) if entry.is_dir())]
    found = next((top for top in tops if (top / MEMBERS).is_file()), None)
    if found is None:
        raise StoreError(f"bundle: expected {MEMBERS} in {archive}, found none; make one with fran export")
    return found


def _member(folder: Path, member: Any) -> ModelFile:
    meta = member.get("meta") if isinstance(member, dict) else None
    lacking = [key for key in REQUIRED if not isinstance(meta, dict) or key not in meta]
    if lacking or not isinstance(meta, dict):
        raise StoreError(f"bundle: a member of {folder / MEMBERS} lacks {', '.join(lacking)}; export the run again")
    name = str(member.get("weights"))
    weights = folder / "models" / name
    if Path(name).name != name or weights.resolve().parent != (folder / "models").resolve():
        raise DataError(f"bundle: expected weights in {folder / 'models'}, found {name!r}; do not use this bundle")
    state = read_checkpoint(weights)
    if sha256_of(weights) != member.get("sha256"):
        raise StoreError(f"bundle: {weights} is not what was exported (its SHA-256 is another); get the bundle again")
    return ModelFile(weights, meta, state)
