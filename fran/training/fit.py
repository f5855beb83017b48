"""Train one network on one fold: the entry of this room."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from fran.data.datamodule import CropDataModule
from fran.errors import FranError
from fran.io.checkpoint import BEST, LAST
from fran.networks.build import build_network
from fran.training.alarms import Alarms
from fran.training.callbacks import BudgetEnd, EarlyStop, PlateauRate, RunFiles, metric_columns
from fran.training.case_tables import CaseTables
from fran.training.ema import WeightAverage
from fran.training.finetune import check_unseen, start_from
from fran.training.hardware import resolve_accelerator, resolve_precision, use_hardware
from fran.training.interrupt import StopOnSignal, StopRequest
from fran.training.last_validation import last_validation
from fran.training.module import SegmentationModule
from fran.training.parts import complete_network, make_datamodule, make_module, make_trainer
from fran.training.progress import ProgressLine
from fran.training.quiet import quiet_lightning
from fran.training.ranks import n_devices, n_nodes, other_ranks
from fran.training.resume import CheckpointState, check_same_model, checkpoint_meta, find_resume, stored_init
from fran.training.schedule import Budget
from fran.training.spec import FitResult, TrainSpec

__all__ = ["FitResult", "TrainSpec", "fit"]

log = logging.getLogger(__name__)


def fit(
    spec: TrainSpec,
    network: nn.Module | None = None,
    *,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    everywhere: Sequence[Callback] = (),
    resume: Path | None = None,
) -> FitResult:
    """Train until the epochs, the time or the patience are used up.

    Args:
        spec: the training.
        network: instead of building `spec.network`, which must still describe it.
        loggers: of Lightning; none by default.
        callbacks: besides fran's own, in the first process alone: they must not wait for other processes.
        everywhere: callbacks that every process has; they are pickled.
        resume: run folder or checkpoint to go on from: weights, optimiser, epoch, step, random state and used time.

    Raises:
        ConfigError: impossible settings, a patch the network cannot take, or a checkpoint of another model.
        CasesFailed, DataError, StoreError: cases missing or damaged, or no checkpoint to resume from.
        TrainingInterrupted: SIGTERM, SIGUSR1 or Ctrl-C; last.ckpt holds everything up to the last step.
        FranError: the loss became infinite or NaN, or the GPU's memory did not suffice.
    """
    settings = spec.trainer
    settings.check()
    accelerator = resolve_accelerator(settings.accelerator)
    use_hardware(settings.threads)
    network_spec = complete_network(spec)
    data = make_datamodule(spec, on_gpu=accelerator == "gpu")
    meta = checkpoint_meta(spec, network_spec, data)
    start = resume_point(resume, meta) if resume is not None else None
    request = StopRequest()
    budget = Budget(settings.max_epochs * settings.steps_per_epoch, settings.max_time_s)
    torch.manual_seed(settings.seed)
    given = network is not None
    if network is None:
        network = build_network(network_spec, spec.trusted)
    meta["init"] = stored_init(start) if start is not None else carry_over(spec, network, network_spec)
    module = make_module(spec, network, budget, data, meta["init"].get("carried", ()))
    columns = metric_columns(spec.label_names, with_nsd=settings.val_nsd_mm is not None)
    files = RunFiles(spec.run_folder, columns, budget)
    end = BudgetEnd(budget)
    own: list[Callback] = [CheckpointState(meta, budget), end, files, CaseTables(spec.run_folder, files)]
    devices = n_devices(settings.devices, accelerator)
    own.insert(1, last_validation(budget, data, settings.val_overlap, devices * n_nodes()))
    precision = resolve_precision(settings.precision, accelerator)
    if settings.precision not in ("auto", precision):
        log.warning("trainer.precision=%s: a CPU does not train in fp16; it is %s", settings.precision, precision)
    own.append(Alarms(spec.run_folder, settings, accelerator, precision, falls=spec.init_from is None))
    if settings.optimiser.schedule == "plateau":
        own.append(PlateauRate(module.plateau))
    if settings.ema_decay:
        own.append(WeightAverage(settings.ema_decay))
    if settings.early_stopping_epochs:
        own.append(EarlyStop(settings.early_stopping_epochs, files, end))
    own.append(StopOnSignal(request, spec.run_folder / LAST, go_on(spec)))
    if settings.progress:
        own.append(ProgressLine(budget))
    work = {"spec": spec, "network": network if given else None, "resume": resume, "everywhere": everywhere}
    with other_ranks(devices, work):
        with quiet_lightning():
            trainer = make_trainer(spec, accelerator, [*own, *everywhere, *callbacks], loggers)
        run(trainer, module, data, start, request)
    return _result(spec, trainer, module, files, end)


def check_resume(spec: TrainSpec, run_folder: Path) -> None:
    """Refuse a resume that cannot be, before anything about the run is changed.

    Raises:
        ConfigError, StoreError: see `fit`.
    """
    data = make_datamodule(spec, on_gpu=False)
    resume_point(run_folder, checkpoint_meta(spec, complete_network(spec), data))


def check_init(spec: TrainSpec) -> None:
    """Refuse weights that the training cannot start with, before anything is written.

    Raises:
        ConfigError, StoreError: see `fran.training.finetune.start_from`.
    """
    if spec.init_from is not None:
        filled = complete_network(spec)
        check_unseen(spec.init_from, spec.project, spec.data.val_ids)
        start_from(build_network(filled, spec.trusted), filled, spec.data.labels, spec.init_from, spec.trusted)


def resume_point(path: Path, meta: Mapping[str, Any]) -> Path:
    """The checkpoint that a training with the section `meta` may go on from."""
    start = find_resume(path)
    check_same_model(start, meta)
    return start


def run(
    trainer: pl.Trainer,
    module: SegmentationModule,
    data: CropDataModule,
    start: Path | None,
    request: StopRequest,
) -> None:
    """Run the trainer under fran's handling of signals.

    Raises:
        TrainingInterrupted: a signal ended it.
        FranError: the memory of a GPU did not suffice; says what to lower.
    """
    try:
        with quiet_lightning(), request.listening():
            trainer.fit(module, datamodule=data, ckpt_path=str(start) if start is not None else None)
    except SystemExit as error:
        # Lightning's answer to Ctrl-C would be exit status 1
        raise (error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error) from None
    except torch.OutOfMemoryError as error:
        raise FranError(
            f"the device's memory did not suffice for {data.batch_size} patches of {list(module.patch_size)} a step;"
            f" lower trainer.batch_size, patch_dim0 and patch_dim1, or model.filters ({str(error).splitlines()[0]})"
        ) from error


def go_on(spec: TrainSpec) -> str:
    """How to go on with an interrupted run, as the end of a message."""
    if not spec.project:
        return f"fit(..., resume=Path({str(spec.run_folder)!r})) goes on from it"
    return f"Go on with: fran train project={spec.project} resume={spec.run_folder.name}"


def carry_over(spec: TrainSpec, network: nn.Module, network_spec: Mapping[str, Any]) -> dict[str, Any]:
    """Let `network` start from another run where the training says so; what was taken, as plain data."""
    if spec.init_from is None:
        return {}
    check_unseen(spec.init_from, spec.project, spec.data.val_ids)
    taken = start_from(network, network_spec, spec.data.labels, spec.init_from, spec.trusted)
    for line in taken.lines():
        log.info("%s", line)
    return taken.plain()


def _result(
    spec: TrainSpec, trainer: pl.Trainer, module: SegmentationModule, files: RunFiles, end: BudgetEnd
) -> FitResult:
    best = spec.run_folder / BEST
    names = spec.data.labels.channel_names[1:]
    return FitResult(
        run_folder=spec.run_folder,
        last=spec.run_folder / LAST,
        best=best if best.exists() else None,
        best_dice=files.best_dice if files.best_epoch else float("nan"),
        best_epoch=files.best_epoch,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        elapsed_s=files.budget.elapsed_s,
        stopped_by=end.reason,
        metrics={name: float(value) for name, value in trainer.callback_metrics.items()},
        case_dice={c: dict(zip(names, r.dice.tolist(), strict=True)) for c, r in module.case_results.items()},
    )
