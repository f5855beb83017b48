"""The parent run of a cross-validation in MLflow: found or made, and its folds put below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fran.io.files import read_json
from fran.tracking.cv_groups import CvGroup
from fran.tracking.mlflow_logger import RUN_FILE, client_of, sqlite_uri, tracking_db
from fran.tracking.params import flatten, in_batches
from fran.tracking.runs import exclusive

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PARENT = "mlflow.parentRunId"
KIND, GROUP, DIGEST = "fran.kind", "fran.group", "fran.group_digest"
SETTINGS, FOLDS = "fran.settings_digest", "fran.folds_digest"
OLDEST = ["attributes.start_time ASC"]
CV, TRAINING = "cross-validation", "training"


def gather(uri: str, experiment_id: str, group: CvGroup) -> str:
    """Put every run of a store that belongs to a group below the group's parent run; return the parent's id.

    Asked again it changes nothing; a run that somebody has put below another parent stays there.
    """
    parent = parent_run(uri, experiment_id, group)
    client = client_of(uri)
    for run in member_runs(client, experiment_id, group):
        for key, value in ((PARENT, parent), (GROUP, group.name)):
            if run.data.tags.get(key) is None:
                client.set_tag(run.info.run_id, key, value)
    return parent


def member_runs(client: MlflowClient, experiment_id: str, group: CvGroup) -> list[Run]:
    """The trainings of a store that belong to a group."""
    wanted = {KIND: TRAINING, SETTINGS: group.settings_digest, FOLDS: group.folds_digest}
    return search(client, experiment_id, wanted)


def search(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> list[Run]:
    """Every run with these tags, the oldest first, however many there are."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], query, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def parent_run(uri: str, experiment_id: str, group: CvGroup) -> str:
    """Id of the group's parent run, made if the store has none; two processes at once get the same one.

    The store is asked first, so that a server shared by several machines, or a merged store, gives the one it has.
    """
    client = client_of(uri)
    with exclusive(group.folder / ".lock"):
        found = find_parent(client, experiment_id, group.digest)
        return found.info.run_id if found is not None else _make_parent(client, experiment_id, group)


def find_parent(client: MlflowClient, experiment_id: str, digest: str) -> Run | None:
    """The parent run of a group; the oldest where there are several."""
    return next(iter(search(client, experiment_id, {KIND: CV, DIGEST: digest})), None)


def _make_parent(client: MlflowClient, experiment_id: str, group: CvGroup) -> str:
    tags: Mapping[str, str] = {
        KIND: CV,
        GROUP: group.name,
        DIGEST: group.digest,
        "fran.project": group.project,
        "fran.plan": group.plan,
        "fran.model": group.model,
        SETTINGS: group.settings_digest,
        FOLDS: group.folds_digest,
    }
    run_id = str(client.create_run(experiment_id, tags=dict(tags), run_name=group.name).info.run_id)
    params, aside = flatten(group.settings)
    in_batches(client, run_id, params)
    if aside:
        client.log_dict(run_id, dict(group.settings), "settings.json")
        client.set_tag(run_id, "fran.params_in_settings_json_only", ", ".join(aside))
    return run_id


def stores_of(run_folders: Sequence[Path], project_uri: str | None) -> list[str]:
    """URIs of the stores in which runs are, without those of single runs; the project's own comes with them."""
    found = [project_uri] if project_uri is not None else []
    for folder in run_folders:
        path = folder / RUN_FILE
        uri = str(read_json(path).get("uri")) if path.is_file() else ""
        if uri and uri != sqlite_uri(tracking_db(folder)):
            found.append(uri)
    return list(dict.fromkeys(found))


def log_summary(
    uri: str, group: CvGroup, metrics: Mapping[str, float], files: Sequence[Path], n_folds: int, complete: bool
) -> bool:
    """Log a group's summary to its parent run, as far as it is not there already; whether the store has the group.

    Args:
        uri: of the store.
        group: the cross-validation.
        metrics: name to value; the step of each is the number of folds.
        files: artefacts.
        n_folds: folds that the figures stand on.
        complete: whether these are all.
    """
    client = client_of(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    parents = [found for e in experiments if (found := find_parent(client, e, group.digest)) is not None]
    for parent in parents:
        run_id, known = parent.info.run_id, parent.data.metrics
        for name, value in metrics.items():
            if known.get(name) != value or parent.data.tags.get("fran.folds_done") != str(n_folds):
                client.log_metric(run_id, name, value, step=n_folds)
        for file in files:
            client.log_artifact(run_id, str(file), "cross-validation")
        client.set_tag(run_id, "fran.folds_done", str(n_folds))
        client.update_run(run_id, "RUNNING") if not complete else client.set_terminated(run_id, "FINISHED")
    return bool(parents)
