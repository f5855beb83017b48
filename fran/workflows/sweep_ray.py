"""Trials as jobs on a Ray cluster, each in a process of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from fran.errors import ConfigError
from fran.parallel.ray import connected
from fran.tracking import sweeps
from fran.tracking.sweeps import Sweep, Trial, read_trial, write_trial
from fran.workflows.schema import register
from fran.workflows.sweeps import Stop, say_end

SETTING = "hydra.launcher.ray"
GRACE_SECONDS = 120.0  # for trials to write their checkpoint when the sweep is stopped
_CARRIED = ("FRAN_", "HYDRA_", "MLFLOW_")
log = logging.getLogger("fran.sweep")


@dataclass(frozen=True)
class Work:
    """What every job of a sweep needs in its process.

    Attributes:
        context, task, master: as Hydra gave them to the sweeper.
        singletons: Hydra's global state.
        environment: variables that decide what a configuration means.
        folder: in which the command was typed, for relative paths.
    """

    context: HydraContext
    task: TaskFunction
    master: DictConfig
    singletons: Any
    environment: Mapping[str, str]
    folder: str

    @classmethod
    def here(cls, context: HydraContext, task: TaskFunction, master: DictConfig) -> Work:
        """Of this process."""
        environment = {k: v for k, v in os.environ.items() if k.startswith(_CARRIED)}
        return cls(context, task, master, Singleton.get_state(), environment, str(Path.cwd()))


def run_hydra_job(work: Work, overrides: list[str], number: int) -> None:
    """Run one job as Hydra's own launchers do, in a fresh process; what becomes of it is in the trial's files."""
    os.environ.update(work.environment)
    with suppress(FileNotFoundError):  # on another machine
        os.chdir(work.folder)
    register()
    setup_globals()
    Singleton.set_state(work.singletons)
    config = work.context.config_loader.load_sweep_config(work.master, list(overrides))
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = str(number), number
    HydraConfig.instance().set_config(config)
    run_job(
        hydra_context=work.context,
        task_function=work.task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def ray_settings(master: DictConfig) -> DictConfig:
    """Settings of ``hydra/launcher=ray``.

    Raises:
        ConfigError: another launcher is chosen.
    """
    settings = master.hydra.launcher.get("ray")
    if not isinstance(settings, DictConfig):
        chosen = master.hydra.runtime.choices["hydra/launcher"]
        raise ConfigError(f"hydra/launcher: a search runs on Ray; expected ray, found {chosen}")
    return settings


@contextmanager
def cluster(ray_cfg: DictConfig) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Ray, connected as the launcher's configuration says, and what each trial gets of it.

    Raises:
        ConfigError: there is no such cluster, or none of its machines has what a trial asks for.
    """
    plain: Any = OmegaConf.to_container(ray_cfg, resolve=True)
    init, remote = dict(plain.get("init") or {}), dict(plain.get("remote") or {})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with connected(init.pop("address", None) or "local", f"{SETTING}.init.address", **init) as ray:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield ray, fitting(remote, machines)


def fitting(remote: Mapping[str, Any], machines: list[Mapping[str, float]]) -> dict[str, Any]:
    """What a trial asks of the cluster, defaults filled in; Ray itself would wait for ever for what is not there.

    Args:
        remote: arguments of ``ray.remote``.
        machines: resources of each machine.

    Raises:
        ConfigError: no machine has as much.
    """
    has_gpu = any(machine.get("GPU", 0) >= 1 for machine in machines)
    asked = {**remote, "num_gpus": remote.get("num_gpus") if remote.get("num_gpus") is not None else int(has_gpu)}
    asked["num_cpus"] = 1 if remote.get("num_cpus") is None else remote["num_cpus"]
    needed = {"CPU": asked["num_cpus"], "GPU": asked["num_gpus"], **(asked.get("resources") or {})}
    settings = {"CPU": "num_cpus", "GPU": "num_gpus"}
    for name, amount in needed.items():
        most = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if amount > most:
            setting = settings.get(name, f"resources.{name}")
            raise ConfigError(
                f"{SETTING}.remote.{setting}: expected at most {most:g}, which the largest machine of the cluster has,"
                f" found {amount:g}"
            )
    if not any(all(machine.get(name, 0.0) >= n for name, n in needed.items()) for machine in machines):
        wanted = ", ".join(f"{n:g} {name}" for name, n in needed.items() if n)
        raise ConfigError(
            f"{SETTING}.remote: expected what one machine of the cluster has, found {wanted} for each trial"
        )
    return asked


def run_on_ray(
    ray: Any, remote: Mapping[str, Any], work: Work, jobs: Mapping[int, list[str]], sweep: Sweep, stop: Stop
) -> None:
    """Run jobs side by side, as many as the cluster has room for.

    Args:
        ray: connected.
        remote: what each job gets of the cluster.
        work: what all jobs have in common.
        jobs: overrides by the trial's number.
        sweep: of the trials.
        stop: whether a signal came.
    """
    shared = ray.put(work)
    function = ray.remote(**remote)(run_hydra_job)
    running = {function.remote(shared, overrides, number): number for number, overrides in jobs.items()}
    while running:
        done, _ = ray.wait(list(running), timeout=1.0)
        for reference in done:
            number = running.pop(reference)
            _take(ray, reference, sweep, number, stop)
            say_end(sweep, _trial(sweep, number))
        if stop.number is not None:
            _cancel(ray, running, sweep, force=stop.waited_s > GRACE_SECONDS)


def _take(ray: Any, reference: Any, sweep: Sweep, number: int, stop: Stop) -> None:
    """Write down why a job did not even come to train, or that its process was killed."""
    try:
        ray.get(reference)
        return
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
    trial = _trial(sweep, number)
    if trial.state == sweeps.KILLED:
        write_trial(trial)
    elif trial.state == sweeps.WAITING and stop.number is None:
        write_trial(replace(trial, attempts=trial.attempts + 1).ended(sweeps.FAILED, f"it could not begin: {reason}"))


def _cancel(ray: Any, running: Mapping[Any, int], sweep: Sweep, force: bool) -> None:
    for reference, number in running.items():
        if force or read_trial(sweep.folder / str(number)).state != sweeps.RUNNING:
            ray.cancel(reference, force=force)


def _trial(sweep: Sweep, number: int) -> Trial:
    return next(trial for trial in sweep.trials() if trial.number == number)
