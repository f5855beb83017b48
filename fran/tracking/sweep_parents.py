"""The parent run of a sweep in MLflow: found or made, and told how the sweep stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fran.tracking.mlflow_logger import client_of
from fran.tracking.params import flatten, in_batches
from fran.tracking.parents import KIND, search
from fran.tracking.runs import exclusive
from fran.tracking.sweeps import Sweep

SWEEP, NAME, IDENTITY = "sweep", "fran.sweep", "fran.sweep_id"


def sweep_run(uri: str, experiment_id: str, sweep: Sweep, project: str) -> str:
    """Id of the sweep's run, made if the store has none; two processes at once get the same one.

    Args:
        uri: of the store.
        experiment_id: to look in.
        sweep: whose run it is.
        project: title.
    """
    client, identity = client_of(uri), identity_of(sweep, project)
    with exclusive(sweep.folder / ".parent.lock"):
        found = search(client, experiment_id, {KIND: SWEEP, IDENTITY: identity})
        if found:
            return str(found[0].info.run_id)
        tags = {
            KIND: SWEEP,
            NAME: sweep.name,
            IDENTITY: identity,
            "fran.project": project,
            "fran.command": sweep.command,
        }
        run_id = str(client.create_run(experiment_id, tags=tags, run_name=sweep.name).info.run_id)
        params, _ = flatten({"kind": sweep.kind, "metric": sweep.metric, "mode": sweep.mode, **_shown(sweep.what)})
        in_batches(client, run_id, params)
        client.log_dict(run_id, dict(sweep.what), "sweep.json")
    return run_id


def identity_of(sweep: Sweep, project: str) -> str:
    """What a sweep is known by in any store: a name may come again after its folder was deleted."""
    return f"{project}/{sweep.name}/{sweep.created_at}"


def log_sweep(
    uri: str, sweep: Sweep, project: str, metrics: Mapping[str, float], files: Sequence[Path], status: str
) -> bool:
    """Bring figures, files and status to the sweep's run; whether the store has one.

    Args:
        uri: of the store.
        sweep: whose run it is.
        project: title.
        metrics: name to value; they replace those of before.
        files: artefacts.
        status: "RUNNING", "FINISHED", "FAILED" or "KILLED".
    """
    client = client_of(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = {KIND: SWEEP, IDENTITY: identity_of(sweep, project)}
    found = next((runs[0] for e in experiments if (runs := search(client, e, wanted))), None)
    if found is None:
        return False
    run_id = found.info.run_id
    for name, value in metrics.items():
        if found.data.metrics.get(name) != value:
            client.log_metric(run_id, name, value)
    for file in files:
        client.log_artifact(run_id, str(file))
    client.update_run(run_id, "RUNNING") if status == "RUNNING" else client.set_terminated(run_id, status)
    return True


def _shown(what: Mapping[str, object]) -> dict[str, object]:
    """What is searched, by key, and the common overrides as one text."""
    differing = what.get("differing")
    searched = differing if isinstance(differing, Mapping) else {}
    common = what.get("overrides")
    listed = " ".join(map(str, common)) if isinstance(common, list | tuple) else ""
    return {"common": listed, "searched": {key or "sampler": str(value) for key, value in searched.items()}}
