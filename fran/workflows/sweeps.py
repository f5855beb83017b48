"""What grids and searches have in common: trials of a command, composed, prepared, and told about afterwards."""

from __future__ import annotations

import json
import logging
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from fran.errors import ConfigError, FranError, raise_for_settings
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.tracking import sweeps
from fran.tracking.runs import exclusive
from fran.tracking.settings import OFFLINE
from fran.tracking.sweeps import Sweep, Trial, sweep_for, trial_key, write_trial
from fran.workflows import train
from fran.workflows.entry import Job, compose_job, problems
from fran.workflows.plan_data import PlanData, data_of
from fran.workflows.preprocess import bring_up_to_date
from fran.workflows.projects import existing_project
from fran.workflows.schema import TrainConfig

#: Overrides that do not tell one sweep from another, as in `fran.tracking.sweeps.APART`.
PLACES = ("paths", *sweeps.APART)
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


@dataclass(frozen=True)
class Asked:
    """What a command asks of its trials.

    Attributes:
        kind: "grid" or "search".
        common: overrides of every trial.
        differing: what trials differ in: values, or domains.
        metric, mode: what they are compared by.
    """

    kind: str
    common: tuple[str, ...]
    differing: Mapping[str, Any]
    metric: str
    mode: str

    @property
    def what(self) -> dict[str, Any]:
        """The part that tells one sweep from another."""
        return {"overrides": sorted(without_places(self.common)), "differing": dict(self.differing)}


@dataclass(frozen=True)
class Candidate:
    """A trial that is to be trained.

    Attributes:
        trial: as it stands.
        job: its configuration.
        overrides: the whole of its task overrides.
    """

    trial: Trial
    job: Job[TrainConfig]
    overrides: tuple[str, ...]


def sweeps_folder(folders: ProjectFolders) -> Path:
    """Folder of a project's sweeps."""
    return folders.project / "sweeps"


def compose(overrides: Sequence[str]) -> Job[TrainConfig]:
    """The training that a command line would be."""
    return compose_job("train", TrainConfig, overrides)


def project_of(job: Job[TrainConfig]) -> Project:
    """The project of a training."""
    return existing_project(job.config.paths, job.config.project)


def key_of(job: Job[TrainConfig]) -> str:
    """See `fran.tracking.sweeps.trial_key`."""
    return trial_key(job.plain, job.choices["model"])


def why_refused(job: Job[TrainConfig]) -> str:
    """What cannot work about a trial, before any work; empty where it can begin."""
    try:
        raise_for_settings(problems(job, train.check))
    except ConfigError as error:
        return str(error)
    return ""


def check_swept(job: Job[TrainConfig]) -> None:
    """Refuse settings that cannot hold for several trainings.

    Raises:
        ConfigError: a run is named.
    """
    for key in ("run", "resume"):
        if getattr(job.config, key):
            raise ConfigError(f"{key}: expected null in a sweep, which names its runs itself and goes on with them")


def open_sweep(asked: Asked, job: Job[TrainConfig], make: bool = True) -> Sweep:
    """The sweep of a command, found or made.

    Args:
        asked: by the command.
        job: one of its trainings.
        make: whether to write a new one down.
    """
    return sweep_for(
        sweeps_folder(project_of(job).folders), asked.kind, asked.what, name=job.config.sweep, metric=asked.metric,
        mode=asked.mode, command=shlex.join(["fran", "train", *sys.argv[1:]]), make=make,
    )  # fmt: skip


def settle(sweep: Sweep) -> None:
    """Write down which trials were killed, so that nothing says it is running that is not."""
    for trial in sweep.trials():
        if trial.state == sweeps.KILLED:
            write_trial(trial)


def job_overrides(sweep: Sweep, candidate: Candidate, parent: str | None) -> list[str]:
    """Overrides of the Hydra job of a trial: the task's own, the sweep's name and run, and where its folder is."""
    own = [o for o in candidate.overrides if not o.startswith(("sweep=", "search="))]
    own += [f"tracking.parent_run_id={parent}"] if parent and "fold" not in sweep.what["differing"] else []
    places = {"hydra.sweep.dir": str(sweep.folder), "hydra.sweep.subdir": str(candidate.trial.number)}
    return [*own, f"sweep={sweep.name}", *(override(key, value) for key, value in places.items())]


def override(key: str, value: Any) -> str:
    """``key=value`` in the words of Hydra's command line.

    Example:
        >>> override("lr", 1e-05), override("flip_p", [0.5, False, None]), override("notes", "it's 1")
        ('lr=1e-05', 'flip_p=[0.5,false,null]', "notes='it\\\\'s 1'")
    """
    return f"{key}={_word(value)}"


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_word(k)}:{_word(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_word, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'") + "'"


def keep_config(master: DictConfig, sweep: Sweep) -> None:
    """Let Hydra's own folder of the sweep be the sweep's, with the composed configuration in it."""
    with open_dict(master):
        master.hydra.sweep.dir = str(sweep.folder)
    OmegaConf.save(master, sweep.folder / "multirun.yaml")


class Preparation:
    """Preprocessed data of trials: made once for each plan's data, by one process at a time in the whole project."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._outcomes: dict[tuple[str, ...], str] = {}

    def key(self, job: Job[TrainConfig]) -> tuple[str, ...]:
        """Equal for trials that train on the same files."""
        return _folders(data_of(project_of(job), job))

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


def settings_of(trial: Trial) -> dict[str, Any]:
    """What sets a trial apart, by key."""
    parsed = OverridesParser.create().parse_overrides(list(trial.overrides))
    return {one.key_or_group: one.value() for one in parsed}


def without_places(overrides: Sequence[str]) -> list[str]:
    """Overrides that say what is trained, without those that say where, under which name, or how it is remembered."""
    return [o for o in overrides if re.split(r"[.@=/]", o.lstrip("+~"))[0] not in PLACES]


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
    """Print what became of the trials.

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
    collect(project_of(job), sweep, Bootstrap(), N_SEEDS)
    trials = sweep.trials()
    if stop.number is not None:
        open_ones = sum(not trial.done for trial in trials)
        raise SweepEnded(f"{sweep.name} was stopped; {open_ones} trials go on with the same command", 128 + stop.number)
    failed = [trial for trial in trials if trial.state in sweeps.UNSUCCESSFUL]
    if failed:
        lines = [f"trial {t.number} {t.state}: {t.reason}" for t in failed]
        listed = "\n  ".join(lines)
        raise SweepEnded(
            f"{sweep.name}: {len(failed)} of {len(trials)} trials failed; the same command tries them again\n  {listed}"
        )
