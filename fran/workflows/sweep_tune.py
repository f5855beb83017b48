"""A search run by Ray Tune: it gives room to trials, takes their reports, and sees which process has gone.

Which trial comes next, and which stops early, is decided by `fran.workflows.sweep_search.Search`, whose memory is
files. Tune's own memory is not used: it is a folder that is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fran.workflows import trial as trial_process
from fran.workflows.sweep_ray import GRACE_SECONDS, Work, run_hydra_job
from fran.workflows.sweep_search import Search

ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are fran's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def search_with_tune(ray: Any, remote: Mapping[str, Any], work: Work, search: Search) -> None:
    """Run a search on a cluster until it ends.

    Args:
        ray: connected.
        remote: what each trial gets of the cluster.
        work: what all trials have in common.
        search: which trial comes next.
    """
    os.environ.update(ENVIRONMENT)
    places = capacity(remote, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    storage = search.sweep.folder / "tune"
    shutil.rmtree(storage, ignore_errors=True)
    resources = {"cpu": remote["num_cpus"], "gpu": remote["num_gpus"], **(remote.get("resources") or {})}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_train, work=work), resources),
        tune_config=tune.TuneConfig(
            search_alg=_Draws(search),
            scheduler=_Judge(search),
            num_samples=-1,
            max_concurrent_trials=min(places, search.settings.concurrent or places),
        ),
        run_config=tune.RunConfig(name="trials", storage_path=str(storage), verbose=0, stop=_End(search)),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def capacity(remote: Mapping[str, Any], machines: list[dict[str, float]]) -> int:
    """How many trials the machines have room for at a time, one at least."""
    needed = {"CPU": remote["num_cpus"], "GPU": remote["num_gpus"], **(remote.get("resources") or {})}
    rooms = [
        min((int(machine.get(name, 0.0) / amount) for name, amount in needed.items() if amount), default=1)
        for machine in machines
    ]
    return max(sum(rooms), 1)


def _train(config: dict[str, Any], work: Work) -> None:
    """Body of a trial's process."""
    trial_process.on_report[:] = [lambda epoch, value: tune.report({"epoch": epoch, "value": value})]
    run_hydra_job(work, config["overrides"], config["number"])


class _Forgotten:
    """Tune copies and stores what it is given; what is stored of this is nothing."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce__(self) -> Any:
        return object, ()


class _Draws(_Forgotten, Searcher):
    """Tune asks for trials."""

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial, None while there is none, FINISHED where none will come."""
        following = self.search.next()
        if following is None:
            return Searcher.FINISHED if self.search.ended else None
        self.numbers[trial_id], overrides = following
        return {"number": following[0], "overrides": overrides}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial has ended."""
        self.search.end(self.numbers[trial_id], error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing; the memory is in files."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Judge(_Forgotten, FIFOScheduler):
    """Tune hands over reports. Trials are stopped by a request that they look for, so that they end in good order."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Before the trial's call to `tune.report` returns."""
        if "value" in result:
            self.search.report(trial.config["number"], int(result["epoch"]), float(result["value"]))
        return str(TrialScheduler.CONTINUE)


class _End(_Forgotten, Stopper):
    """Tune asks in each round whether all should end at once."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended at once by itself."""
        return False

    def stop_all(self) -> bool:
        """Where trials do not end within the time they were given."""
        return bool(self.search.ended) and self.search.stop.waited_s > GRACE_SECONDS
