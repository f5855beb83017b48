"""Checkpoints out of MLflow: by a run's id, or by an alias or version of a registered model."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from fran.errors import ConfigError, StoreError
from fran.io.checkpoint import BEST, LAST
from fran.remote.copies import Copy, one_at_a_time, sha256_of, whole_copy, write_record
from fran.tracking.mlflow_logger import client_of, reason, without_secret

RUN, MODEL = "mlflow:", "models:/"
_ID = re.compile(r"[0-9a-f]{32}")
_MODEL = re.compile(r"models:/([^/@]+)(?:@([\w.-]+)|/(\d+))")


def is_mlflow(name: str) -> bool:
    """Whether a run is named as one of MLflow.

    Example:
        >>> [is_mlflow(n) for n in ("mlflow:0123", "models:/kits-plan1-dynunet@best", "plan1-dynunet-f0-1")]
        [True, True, False]
    """
    return name.startswith((RUN, MODEL))


def fetch_model(uri: str, name: str, which: str, folder: Path) -> Path:
    """Checkpoint of an MLflow run, from the store or from the copy here.

    An alias is looked up each time, so that it is followed when it moves.

    Args:
        uri: of the tracking store.
        name: ``mlflow:<run id>``, ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        which: "best" or "last"; a run without the one has the other.
        folder: of the copies: ``<folder>/mlflow/<run id>/<checkpoint>``.

    Raises:
        ConfigError: the name is none of these.
        StoreError: the store has no such run, model or checkpoint, or cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    try:
        client = client_of(uri)
        run_id = _run_id(client, name)
        stored = {Path(f.path).name: f for f in client.list_artifacts(run_id, "checkpoints") if not f.is_dir}
        found = next((n for n in (f"{which}.ckpt", BEST, LAST) if n in stored), None)
        if found is None:
            raise StoreError(f"runs: {name} has no checkpoint in its artefacts; tracking.log_checkpoint=true stores it")
        ended = client.get_run(run_id).info.end_time
        version = {"run": run_id, "size": stored[found].file_size, "ended": ended}
        target = folder / "mlflow" / run_id / found
        with one_at_a_time(target):
            copy = whole_copy(target)
            if copy is None or copy.version != version:
                _download(client, run_id, found, target, without_secret(uri), version)
        return target
    except (MlflowException, OSError) as error:
        said = reason(error, uri)
        raise StoreError(f"runs: {name} cannot be had from {without_secret(uri)}: {said}; see tracking.uri") from error


def _run_id(client: object, name: str) -> str:
    if name.startswith(RUN):
        run_id = name.removeprefix(RUN)
        if not _ID.fullmatch(run_id):
            raise ConfigError(f"runs: expected mlflow:<the 32 characters of a run's id>, found {name!r}")
        return run_id
    match = _MODEL.fullmatch(name)
    if match is None:
        raise ConfigError(f"runs: expected models:/<name>@<alias> or models:/<name>/<version>, found {name!r}")
    model, alias, number = match.groups()
    version = (
        client.get_model_version_by_alias(model, alias)  # type: ignore[attr-defined]
        if alias
        else client.get_model_version(model, number)  # type: ignore[attr-defined]
    )
    if not version.run_id:
        raise StoreError(f"runs: version {version.version} of {model} belongs to no run; name a run instead")
    return str(version.run_id)


def _download(client: object, run_id: str, file: str, target: Path, uri: str, version: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as folder:
        path = Path(client.download_artifacts(run_id, f"checkpoints/{file}", folder))  # type: ignore[attr-defined]
        if path.stat().st_size != version["size"]:
            raise StoreError(f"runs: {file} of {run_id} came with {path.stat().st_size} of {version['size']} bytes")
        copy = Copy(f"{uri} run {run_id}", dict(version), path.stat().st_size, sha256_of(path), "size in the store")
        shutil.move(path, target)
    write_record(target, copy)
