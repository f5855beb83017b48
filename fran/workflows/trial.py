"""One trial of a sweep: a training as a Hydra job whose state is kept in its folder; see `fran.tracking.sweeps`."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from fran.errors import StoreError
from fran.io.files import atomic_path
from fran.tracking import sweeps
from fran.tracking.runs import RECORD, read_record
from fran.tracking.sweeps import Sweep, Trial, read_trial, trial_lock, with_figures, write_trial
from fran.workflows import train
from fran.workflows.entry import Job
from fran.workflows.projects import folders_of
from fran.workflows.schema import TrainConfig

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

log = logging.getLogger("fran.train")

#: Told of the epoch and value of each validation; a search sets it.
on_report: list[Callable[[int, float], None]] = []


def train_or_trial(job: Job[TrainConfig]) -> None:
    """Train; as a trial where the job is one of a sweep's."""
    folder = _trial_folder()
    if folder is None:
        train.train(job)
    else:
        run_trial(job, folder)


def _trial_folder() -> Path | None:
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    folder = Path(HydraConfig.get().runtime.output_dir)
    return folder if (folder / sweeps.TRIAL_FILE).is_file() else None


def run_trial(job: Job[TrainConfig], folder: Path) -> None:
    """Train what a trial still lacks, and write down how it stands.

    Raises:
        StoreError: another process trains it.
        Exception: whatever ended the training; it is in the trial's files, too.
    """
    sweep, checkpoints = sweeps.read_sweep(folder.parent), folders_of(job.config.paths, job.config.project).checkpoints
    with trial_lock(read_trial(folder)):
        trial = read_trial(folder)
        if trial.done or sweep.stopping:
            return
        if trial.run is not None and _finished(checkpoints / trial.run):
            _write(sweep, trial.ended(sweeps.FINISHED, "its process ended when all was done"), checkpoints)
            return
        write_trial(trial.begun())
        try:
            result = train.train(job, _to_go_on(checkpoints, trial), lambda run: _begin(sweep, folder, run))
        except BaseException as error:
            ended = _ended_by(error, read_trial(folder), sweep)
            _write(sweep, ended, checkpoints)
            if ended.state == sweeps.FAILED:
                with atomic_path(folder / sweeps.ERROR_FILE) as temporary:
                    temporary.write_text(traceback.format_exc(), encoding="utf-8")
            if ended.done:
                log.warning("trial %d %s: %s", ended.number, ended.state, ended.reason)
                return
            raise
        stopped = sweeps.asked_to_stop(folder) if result is not None and result.stopped_by == "watcher" else None
        state = (sweeps.FINISHED, result.stopped_by if result else "") if stopped is None else (sweeps.STOPPED, stopped)
        _write(sweep, read_trial(folder).ended(*state), checkpoints)


def _finished(run_folder: Path) -> bool:
    with suppress(StoreError):
        return (run_folder / RECORD).is_file() and read_record(run_folder).finished
    return False


def _to_go_on(checkpoints: Path, trial: Trial) -> Path | None:
    """Folder of the trial's run, if it has one that knows its settings."""
    folder = checkpoints / trial.run if trial.run is not None else None
    return folder if folder is not None and (folder / train.OVERRIDES).is_file() else None


def _begin(sweep: Sweep, folder: Path, run_folder: Path) -> Sequence[Callback]:
    from fran.training.callbacks import METRICS
    from fran.training.watched import Watched

    write_trial(replace(read_trial(folder), run=run_folder.name))

    def report(epoch: int, metrics: dict[str, float]) -> str | None:
        write_trial(with_figures(read_trial(folder), run_folder / METRICS, sweep.metric, sweep.mode))
        for listener in on_report:
            listener(epoch, metrics.get(sweep.metric, float("nan")))
        return sweeps.asked_to_stop(folder)

    return [Watched(report, lambda: sweep.stopping)]


def _ended_by(error: BaseException, trial: Trial, sweep: Sweep) -> Trial:
    from fran.training.interrupt import TrainingInterrupted
    from fran.training.module import LossNotFinite

    early = sweeps.asked_to_stop(trial.folder)
    if isinstance(error, TrainingInterrupted) and early is not None and not sweep.stopping:
        return trial.ended(sweeps.STOPPED, early)
    if isinstance(error, TrainingInterrupted | KeyboardInterrupt | SystemExit):
        return trial.ended(sweeps.INTERRUPTED, str(error).partition(";")[0] or "interrupted")
    if isinstance(error, LossNotFinite):
        return trial.ended(sweeps.DIVERGED, str(error))
    return trial.ended(sweeps.FAILED, f"{str(error) or type(error).__name__}")


def _write(sweep: Sweep, trial: Trial, checkpoints: Path) -> None:
    from fran.training.callbacks import METRICS

    known = trial
    if trial.run is not None:
        known = with_figures(trial, checkpoints / trial.run / METRICS, sweep.metric, sweep.mode)
    write_trial(known)
