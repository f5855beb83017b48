"""Runs of other SQLite stores brought into a project's: what jobs of a cluster remembered by themselves.

A run gets a new id in the target and carries the old one as a tag, by which it is found again: merging twice copies
nothing twice, and a merge that was killed is finished by the next one. The source is read from a snapshot and never
changed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from fran.errors import StoreError
from fran.tracking.mlflow_logger import ARTIFACTS, client_of, ensure_experiment, log_datasets, sqlite_uri
from fran.tracking.params import in_batches
from fran.tracking.parents import CV, DIGEST, KIND, PARENT, TRAINING, find_parent, search
from fran.tracking.unsent import send_points

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

ORIGIN, STATE = "fran.origin_run_id", "fran.merge_state"
TAGS_BATCH = 100  # MLflow takes so many at a time


@dataclass
class MergeReport:
    """What became of the runs of the sources, by name.

    Attributes:
        copied: new in the target.
        continued: there before, with something added since, or left half copied.
        unchanged: there before.
        joined: parents of cross-validations that the target has already.
        deleted: were merged before and deleted in the target since; left so.
        problems: what could not be copied, in words.
    """

    copied: list[str] = field(default_factory=list)
    continued: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """Where runs go: the store, and the root of artefacts of experiments that must be made."""

    uri: str
    artifact_root: str | None


def find_stores(folder: Path | str, but: Path | None = None) -> list[Path]:
    """Every mlflow.db in and below a folder, without the target's own.

    Raises:
        StoreError: there is none.
    """
    found = sorted(p for p in Path(folder).rglob("mlflow.db") if but is None or p.resolve() != but.resolve())
    if not found:
        raise StoreError(
            f"folder: expected an mlflow.db in or below {folder}, found none; trainings with tracking=offline write one"
        )
    return found


def merge_stores(
    stores: Sequence[Path],
    target: Target,
    on_run: Callable[[int, int], None] | None = None,
    report: MergeReport | None = None,
) -> MergeReport:
    """Copy every run of the stores that the target does not have, or not in whole.

    Copied are parameters, tags, every value of every metric with its step and time, dataset inputs, artefacts, start,
    end and status, and which run is whose child. Runs that were deleted in a source are left out.

    Args:
        stores: SQLite files.
        target: to write to.
        on_run: called with (runs done, runs in all) of each store.
        report: to add to, and to return.
    """
    report = report or MergeReport()
    for store in stores:
        with _snapshot(store) as source:
            for experiment in source.search_experiments():
                runs = _parents_first(search(source, experiment.experiment_id, {}))
                if not runs:
                    continue
                place = ensure_experiment(target.uri, experiment.name, target.artifact_root)
                ids: dict[str, str] = {}
                for done, run in enumerate(runs, start=1):
                    _merge_run(source, run, store, client_of(target.uri), place, ids, report)
                    if on_run is not None:
                        on_run(done, len(runs))
    return report


@contextmanager
def _snapshot(store: Path) -> Iterator[MlflowClient]:
    """Client of a copy: a source may be read-only or in use, and MLflow may want to write to what it opens."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="fran-merge-") as folder:
        copy = Path(folder) / "mlflow.db"
        try:
            with (
                closing(sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)) as old,
                closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)
            client = client_of(sqlite_uri(copy))
            client.search_experiments(max_results=1)
        except (sqlite3.Error, MlflowException) as error:
            raise StoreError(
                f"{store}: expected an MLflow store, found {error}; where it is of an older MLflow,"
                f" mlflow db upgrade {sqlite_uri(store)}"
            ) from error
        yield client


def _parents_first(runs: Sequence[Run]) -> list[Run]:
    by_id = {run.info.run_id: run for run in runs}

    def depth(run: Run) -> int:
        above = by_id.get(run.data.tags.get(PARENT, ""))
        return 0 if above is None or above is run else 1 + depth(above)

    return sorted(runs, key=lambda run: (depth(run), run.info.start_time, run.info.run_id))


def _merge_run(
    source: MlflowClient,
    run: Run,
    store: Path,
    client: MlflowClient,
    experiment: str,
    ids: dict[str, str],
    report: MergeReport,
) -> None:
    origin, name = run.info.run_id, run.info.run_name
    former = _former(client, experiment, origin)
    if former is None and run.data.tags.get(KIND) == CV:
        same = find_parent(client, experiment, run.data.tags.get(DIGEST, ""))
        if same is not None:
            ids[origin] = same.info.run_id
            report.joined.append(name)
            return
    if former is not None:
        ids[origin] = former.info.run_id
        if former.info.lifecycle_stage == "deleted":
            report.deleted.append(name)
            return
    folder = _artifact_folder(source, run, store)
    state = _state(run, folder)
    if former is not None and former.data.tags.get(STATE) == state:
        report.unchanged.append(name)
        return
    run_id = former.info.run_id if former is not None else _create(client, run, experiment)
    ids[origin] = run_id
    _copy(source, run, client, run_id, former, ids)
    # every training has artefacts; the parent of folds has none until it was collected
    whole = _copy_artifacts(client, run_id, folder) or run.data.tags.get(KIND) != TRAINING
    if not whole:
        report.problems.append(f"{name}: its artefacts are not beside {store}; bring {ARTIFACTS}/ along, merge again")
    # the last step: a run without it was left half copied
    client.set_tag(run_id, STATE, state if whole else "artefacts missing")
    (report.copied if former is None else report.continued).append(name)


def _former(client: MlflowClient, experiment: str, origin: str) -> Run | None:
    from mlflow.entities import ViewType

    found = client.search_runs([experiment], f"tags.`{ORIGIN}` = '{origin}'", run_view_type=ViewType.ALL)
    return min(found, key=lambda run: (run.info.lifecycle_stage == "deleted", run.info.run_id), default=None)


def _create(client: MlflowClient, run: Run, experiment: str) -> str:
    tags = {ORIGIN: run.info.run_id}
    made = client.create_run(experiment, start_time=run.info.start_time, tags=tags, run_name=run.info.run_name)
    return str(made.info.run_id)


def _copy(
    source: MlflowClient, run: Run, client: MlflowClient, run_id: str, former: Run | None, ids: Mapping[str, str]
) -> None:
    from mlflow.entities import RunTag

    known = former.data if former is not None else None
    in_batches(client, run_id, {k: v for k, v in run.data.params.items() if known is None or k not in known.params})
    for key in run.data.metrics:
        _copy_metric(source, client, run.info.run_id, run_id, key, known is not None and key in known.metrics)
    if _datasets(run) and (former is None or not _datasets(former)):
        log_datasets(client, run_id, _datasets(run))
    tags = dict(run.data.tags)
    parent = tags.pop(PARENT, None)
    if parent is not None:
        tags[PARENT] = ids.get(parent, parent)
    listed = [RunTag(key, value) for key, value in tags.items() if known is None or known.tags.get(key) != value]
    for start in range(0, len(listed), TAGS_BATCH):
        client.log_batch(run_id, tags=listed[start : start + TAGS_BATCH])
    if run.info.end_time is not None:
        client.set_terminated(run_id, run.info.status, run.info.end_time)
    else:
        client.update_run(run_id, run.info.status)


def _datasets(run: Run) -> list[Any]:
    return list(run.inputs.dataset_inputs) if run.inputs is not None else []


def _copy_metric(source: MlflowClient, client: MlflowClient, origin: str, run_id: str, key: str, partly: bool) -> None:
    """Every value of one metric; what the target has of it already is left out."""
    there = {_point(metric) for metric in client.get_metric_history(run_id, key)} if partly else set()
    missing = [metric for metric in source.get_metric_history(origin, key) if _point(metric) not in there]
    send_points(client, run_id, missing)


def _point(metric: Metric) -> tuple[int, int, str]:
    return metric.step, metric.timestamp, repr(float(metric.value))  # repr: NaN equals NaN


def _artifact_folder(source: MlflowClient, run: Run, store: Path) -> Path | None:
    """Folder of a run's artefacts: beside the store, wherever that was copied to, else where the run says."""
    beside: Path = store.resolve().parent / ARTIFACTS / run.info.run_id / "artifacts"
    if beside.is_dir():
        return beside
    uri = urlparse(str(run.info.artifact_uri))
    stated = Path(unquote(uri.path))
    return stated if uri.scheme in ("", "file") and stated.is_dir() else None


def _files(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def _state(run: Run, folder: Path | None) -> str:
    """Digest of all that can change about a run; metrics are only ever added to, so their latest points tell."""
    points = sorted((m.key, *_point(m)) for m in run.data._metric_objs)
    content: list[Any] = [run.info.status, run.info.end_time, points, run.data.params, run.data.tags]
    content.append(_files(folder) if folder is not None else None)
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _copy_artifacts(client: MlflowClient, run_id: str, folder: Path | None) -> bool:
    """Copy what the target lacks or has in another size; whether the artefacts were found at all."""
    if folder is None:
        return False
    known = dict(_stored(client, run_id, None))
    for name, size in _files(folder).items():
        if known.get(name) != size:
            inner = Path(name).parent.as_posix()
            client.log_artifact(run_id, str(folder / name), None if inner == "." else inner)
    return True


def _stored(client: MlflowClient, run_id: str, below: str | None) -> Iterator[tuple[str, int]]:
    for entry in client.list_artifacts(run_id, below):
        if entry.is_dir:
            yield from _stored(client, run_id, entry.path)
        else:
            yield entry.path, int(entry.file_size or 0)
