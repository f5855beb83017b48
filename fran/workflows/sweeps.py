"""The course of a sweep: begun or taken up, its data made, stopped by a signal, and told about afterwards."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig, OmegaConf, open_dict

from fran.errors import FranError, counted
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.tracking import sweeps
from fran.tracking.runs import exclusive
from fran.tracking.settings import OFFLINE
from fran.tracking.sweeps import Sweep, Trial, sweep_for, write_trial
from fran.workflows.entry import Job
from fran.workflows.plan_data import PlanData, data_of
from fran.workflows.preprocess import bring_up_to_date
from fran.workflows.schema import TrainConfig
from fran.workflows.sweep_jobs import Asked, check_swept, project_of

SEEDS = "-seeds"
"""End of the name of a sweep that repeats the best trial of another one with several seeds."""
N_SEEDS = 5
log = logging.getLogger("fran.sweep")


class SweepEnded(FranError):
    """A sweep did not come to a good end.

    Attributes:
        status: exit status: 1 where trials failed, 128 and the signal's number where one ended it.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def sweeps_folder(folders: ProjectFolders) -> Path:
    """Folder of a project's sweeps."""
    return folders.project / "sweeps"


def open_sweep(asked: Asked, job: Job[TrainConfig], make: bool = True) -> Sweep:
    """The sweep of a command, found or made.

    Args:
        asked: by the command.
        job: one of its trainings.
        make: whether to write a new one down.

    Raises:
        ConfigError: settings that cannot hold for several trainings.
    """
    check_swept(job)
    return sweep_for(
        sweeps_folder(project_of(job).folders), asked.kind, asked.what, name=job.config.sweep, metric=asked.metric,
        mode=asked.mode, command=shlex.join(["fran", "train", *sys.argv[1:]]), make=make,
    )  # fmt: skip


@contextmanager
def running(sweep: Sweep, master: DictConfig) -> Iterator[None]:
    """Hold a sweep for the time of the block.

    Trials that were killed are written down as such, so that nothing says it is running that is not, and Hydra's own
    folder of the sweep is the sweep's, with the composed configuration in it.

    Args:
        sweep: begun or taken up.
        master: the command's configuration.
    """
    with sweep.running():
        settle(sweep)
        with open_dict(master):
            master.hydra.sweep.dir = str(sweep.folder)
        OmegaConf.save(master, sweep.folder / "multirun.yaml")
        yield


def settle(sweep: Sweep) -> None:
    """Write down which trials were killed, so that nothing says it is running that is not."""
    for trial in sweep.trials():
        if trial.state == sweeps.KILLED:
            write_trial(trial)


class Preparation:
    """Preprocessed data of trials: made once for each plan's data, by one process at a time in the whole project."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._outcomes: dict[tuple[str, ...], str] = {}

    def prepare(self, job: Job[TrainConfig]) -> str:
        """Preprocess what a trial needs; what went wrong, empty where nothing did. Asked again, it remembers."""
        project = project_of(job)
        try:
            data = data_of(project, job)
        except FranError as error:
            return str(error)
        folders = _folders(data)
        if folders not in self._outcomes:
            with exclusive(self.sweep.folder.parent / ".preprocess.lock"):
                self._outcomes[folders] = _made(project, data, job)
        return self._outcomes[folders] or _no_metric(data, job, self.sweep.metric)


def _folders(data: PlanData) -> tuple[str, ...]:
    links = [*data.links, *(data.valid.links if data.valid is not None else ())]
    return tuple(str(link.folder) for link in links)


def _made(project: Project, data: PlanData, job: Job[TrainConfig]) -> str:
    try:
        bring_up_to_date(project, data, job.config.preprocess)
    except FranError as error:
        return str(error)
    return ""


def _no_metric(data: PlanData, job: Job[TrainConfig], metric: str) -> str:
    from fran.errors import choices
    from fran.training.callbacks import metric_columns

    names = data.flow.scheme.channel_names[1:]
    known = [c for c in metric_columns(names, with_nsd=job.config.trainer.val_nsd_mm is not None) if c[:4] == "val/"]
    return "" if metric in known else f"hydra.sweeper.metric: validation has no '{metric}'; {choices(metric, known)}"


def refuse(trial: Trial, reason: str, state: str = sweeps.FAILED) -> None:
    """Write down a trial that cannot begin."""
    write_trial(replace(trial, attempts=trial.attempts + 1).ended(state, reason))
    log.error("trial %d cannot begin: %s", trial.number, reason)


@dataclass
class Stop:
    """Whether a signal asked the whole sweep to stop.

    Attributes:
        number: of the first signal.
        since: monotonic clock.
    """

    number: int | None = None
    since: float = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.since if self.number is not None else 0.0


@contextmanager
def stoppable(sweep: Sweep) -> Iterator[Stop]:
    """Let Ctrl-C and SIGTERM ask the trials to write a checkpoint and end; a second Ctrl-C does not wait for them."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.number is None:
            stop.number, stop.since = number, time.monotonic()
            sweep.stop(signal.Signals(number).name)
            log.warning(
                "stopping: trials end at their next step with a checkpoint; Ctrl-C again does not wait for them"
            )

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def say_end(sweep: Sweep, trial: Trial) -> None:
    """One line about a trial that has ended."""
    figures = f", {sweep.metric} {trial.value:.4f} at epoch {trial.epoch}" if trial.value is not None else ""
    reason = "" if trial.state == sweeps.FINISHED else f": {trial.reason.splitlines()[0]}" if trial.reason else ""
    log.info("trial %d %s%s (%s)%s", trial.number, trial.state, figures, " ".join(trial.overrides), reason)


def parent_of(sweep: Sweep, job: Job[TrainConfig]) -> str | None:
    """Id of the sweep's run in MLflow, made if need be; None where nothing is tracked, or each job by itself."""
    settings = job.config.tracking
    # folds have their cross-validation as parent
    if settings.backend == "none" or settings.uri == OFFLINE or set(sweep.what["differing"]) == {"fold"}:
        return None
    from fran.tracking.guard import warn_only_mlflow
    from fran.tracking.mlflow_logger import artifact_root, ensure_experiment, tracking_uri
    from fran.tracking.sweep_parents import sweep_run

    project = project_of(job)
    folder, name = project.folders.project, settings.experiment or project.project_title
    uri = tracking_uri(settings, folder)
    made: list[str] = []
    with warn_only_mlflow(f"{sweep.name} has no run in MLflow"):
        experiment = ensure_experiment(uri, name, artifact_root(settings, folder))
        made.append(sweep_run(uri, experiment, sweep, project.project_title))
    return made[0] if made else None


def conclude(sweep: Sweep, job: Job[TrainConfig], stop: Stop) -> None:
    """Print what became of the trials, and what can be typed next.

    Args:
        sweep: that has ended, for now.
        job: one of its trainings.
        stop: whether a signal ended it.

    Raises:
        SweepEnded: some failed, or a signal ended the sweep.
    """
    from fran.evaluation.intervals import Bootstrap
    from fran.workflows.sweep_show import collect

    settle(sweep)
    project = project_of(job)
    again = collect(project, sweep, Bootstrap(), N_SEEDS).get("again")
    trials = sweep.trials()
    if stop.number is not None:
        left = counted(sum(not trial.done for trial in trials), "trial")
        raise SweepEnded(f"{sweep.name} was stopped with {left} to go; the same command goes on", 128 + stop.number)
    title = project.project_title
    log.info("next: fran sweep show project=%s sweep=%s      (this table)", title, sweep.name)
    if again is not None:
        log.info("      %s      (the best once more)", again)
    log.info("      fran ui project=%s      (compare runs in MLflow)", title)
    failed = [trial for trial in trials if trial.state in sweeps.UNSUCCESSFUL]
    if failed:
        lines = [f"trial {t.number} {t.state}: {t.reason}" for t in failed]
        listed = "\n  ".join(lines)
        raise SweepEnded(
            f"{sweep.name}: {len(failed)} of {counted(len(trials), 'trial')} failed; the same command tries again\n"
            f"  {listed}"
        )
