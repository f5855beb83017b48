"""The Lightning logger that writes to MLflow: an explicit store, and the run that a resumed training goes on with."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from fran.errors import StoreError
from fran.io.files import read_json, write_json
from fran.tracking.settings import OFFLINE, TrackingSettings

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

    from fran.tracking.run_logger import RunLogger

log = logging.getLogger(__name__)

RUN_FILE = "tracking.json"
ARTIFACTS = "mlartifacts"
#: MLflow's own patience with a server is 120 s an answer and four minutes of further attempts, in silence.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
AWAY = "start it, or train with tracking=offline and bring the runs there later: fran mlflow merge"


def tracking_db(folder: Path | str) -> Path:
    """The MLflow store of a project, or of one run that is tracked offline."""
    return Path(folder).resolve() / "mlflow.db"


def tracking_uri(settings: TrackingSettings, project_folder: Path | str, run_folder: Path | str | None = None) -> str:
    """The URI of the settings, or that of the project's SQLite file; never a file store, never the current folder.

    Offline it is the SQLite file in `run_folder`.
    """
    if settings.uri == OFFLINE and run_folder is not None:
        return sqlite_uri(tracking_db(run_folder))
    return settings.uri or sqlite_uri(tracking_db(project_folder))


def sqlite_uri(db: Path | str) -> str:
    """MLflow's URI of a SQLite file."""
    return f"sqlite:///{Path(db).resolve().as_posix()}"


def make_logger(
    settings: TrackingSettings,
    *,
    project: str,
    run_name: str,
    project_folder: Path | str,
    run_folder: Path | str,
    tags: Mapping[str, str] | None = None,
) -> RunLogger | None:
    """Logger of a training run, or None where tracking is off; mlflow is imported in the first case only.

    The experiment is made here, so that many processes may start at once. The run itself is made at the first use;
    a run folder that already remembers one (`remember_run`) goes on with it.

    Args:
        settings: the tracking group.
        project: title, which names the experiment unless the settings do.
        run_name: name of the run, as of its folder.
        project_folder: holds mlflow.db and mlartifacts/ unless the settings say otherwise; made if missing.
        run_folder: where tracking.json is, for resuming.
        tags: further tags of a new run.

    Raises:
        ConfigError: impossible settings.
        StoreError: the tracking store cannot be reached.
    """
    settings.check()
    if settings.backend == "none":
        return None
    from fran.tracking.run_logger import RunLogger

    uri, name = tracking_uri(settings, project_folder, run_folder), settings.experiment or project
    ensure_experiment(uri, name, artifact_root(settings, run_folder if settings.uri == OFFLINE else project_folder))
    return RunLogger(
        run_folder,
        experiment_name=name,
        run_name=run_name,
        tracking_uri=uri,
        tags=_tags(settings, tags),
        run_id=_former_run(uri, Path(run_folder)),
    )


def client_of(uri: str) -> MlflowClient:
    """Client of a tracking store, with mlflow's telemetry and its chatter about database tables turned off.

    A server is waited for as `PATIENCE` says, unless the environment does.
    """
    for variable, value in {"MLFLOW_DISABLE_TELEMETRY": "true", **PATIENCE}.items():
        os.environ.setdefault(variable, value)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def ensure_experiment(uri: str, name: str, artifact_root: str | None) -> str:
    """Id of the experiment, which is made if it is missing, also when several processes try at once.

    Raises:
        StoreError: the store cannot be reached, or the experiment was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    try:
        _make_sqlite_store(uri)
        client = client_of(uri)
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, artifact_location=artifact_root))
            except MlflowException:
                found = client.get_experiment_by_name(name)  # another process was quicker
                if found is None:
                    raise
    except (MlflowException, OSError) as error:
        raise _away(uri, error) from error
    if found.lifecycle_stage == "deleted":
        raise StoreError(
            f"tracking.experiment: '{name}' was deleted in {without_secret(uri)}; bring it back with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or give another name"
        )
    return str(found.experiment_id)


def check_store(settings: TrackingSettings) -> None:
    """Ask the server or the database that the settings name whether it is there; a file is made where it is missing.

    Raises:
        StoreError: it is not.
    """
    if settings.backend == "none" or settings.uri in (None, OFFLINE) or settings.uri.startswith("sqlite:"):
        return
    from mlflow.exceptions import MlflowException

    try:
        client_of(settings.uri).search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        raise _away(settings.uri, error) from error


def _away(uri: str, error: Exception) -> StoreError:
    step = AWAY if uri.startswith("http") else "check it, or train with tracking=none"
    return StoreError(f"tracking.uri: cannot use {without_secret(uri)}: {reason(error, uri)}; {step}")


def reason(error: Exception, uri: str) -> str:
    """What a store's error says, in one line and without user and password.

    Example:
        >>> reason(OSError("https://me:secret@host:5000/x is away\\nat line 1"), "https://me:secret@host:5000/x")
        'https://host:5000/x is away'
        >>> reason(OSError('Max retries exceeded with url: /x (Caused by A("B: [Errno 111] Connection refused"))'), "")
        'no answer (connection refused)'
    """
    said = str(error)
    if "Max retries exceeded" in said:
        cause = re.search(r"(?<=\] )[\w ]+|timed out|\d+ error responses", said)
        return f"no answer ({cause[0].lower()})" if cause else "no answer"
    return said.replace(uri.rstrip("/"), without_secret(uri.rstrip("/"))).partition("\n")[0]


def without_secret(uri: str) -> str:
    """A URI without user and password.

    Example:
        >>> without_secret("https://me:secret@host:5000/x"), without_secret("sqlite:///a/mlflow.db")
        ('https://host:5000/x', 'sqlite:///a/mlflow.db')
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _make_sqlite_store(uri: str) -> None:
    """Make a missing SQLite store under another name and link it into place.

    MLflow makes its tables in some fifty steps without a lock; two processes that start together would ruin them.
    """
    if not uri.startswith("sqlite:///") or "?" in uri:
        return
    db = Path(uri.removeprefix("sqlite:///"))
    if db.exists():
        return
    db.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=db.parent) as folder:
        made = Path(folder) / "mlflow.db"
        client_of(f"sqlite:///{made.as_posix()}").search_experiments(max_results=1)
        with suppress(FileExistsError):
            db.hardlink_to(made)


def log_datasets(client: MlflowClient, run_id: str, inputs: Sequence[DatasetInput]) -> None:
    """Tell a run which data it is of, also when several processes store the same data at once."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:
        client.log_inputs(run_id, inputs)  # another process was quicker, and what it stored is found now


def remember_run(run_folder: Path | str, uri: str, run_id: str) -> None:
    """Write tracking.json, by which a resumed training finds its MLflow run again."""
    write_json(Path(run_folder) / RUN_FILE, {"uri": uri, "run_id": run_id})


def _former_run(uri: str, run_folder: Path) -> str | None:
    """Run id remembered in the run folder, if the store still has that run; it is set running again."""
    if not (run_folder / RUN_FILE).is_file():
        return None
    run_id = str(read_json(run_folder / RUN_FILE).get("run_id"))
    client = client_of(uri)
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException:
        log.warning("%s names MLflow run %s, which %s does not have: a new one is made", run_folder, run_id, uri)
        return None
    return run_id


def artifact_root(settings: TrackingSettings, folder: Path | str) -> str | None:
    """Where a new experiment keeps its artefacts: beside mlflow.db in `folder`; None leaves it to a server."""
    if settings.artifacts is not None:
        return settings.artifacts
    if settings.uri is not None and settings.uri.startswith("http"):
        return None
    return (Path(folder).resolve() / ARTIFACTS).as_uri()


def _tags(settings: TrackingSettings, tags: Mapping[str, str] | None) -> dict[str, Any]:
    parent = {"mlflow.parentRunId": settings.parent_run_id} if settings.parent_run_id else {}
    return {**settings.tags, **(tags or {}), **parent}
