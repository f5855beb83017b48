"""Train one network on one fold: the entry of this room."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.settings import safe_flips
from fran.data.artefacts import Artefacts
from fran.data.datamodule import CropDataModule
from fran.errors import ConfigError, FranError
from fran.io.checkpoint import BEST, FORMAT, LAST
from fran.labels import LabelScheme
from fran.networks.build import build_network, check_patch_size, fill_spec
from fran.training.alarms import Alarms
from fran.training.callbacks import AtomicCheckpointIO, BudgetEnd, PlateauRate, RunFiles
from fran.training.case_scores import ValidationSettings
from fran.training.case_tables import CaseTables
from fran.training.ema import WeightAverage
from fran.training.finetune import check_unseen, start_from
from fran.training.hardware import resolve_accelerator, resolve_precision, use_hardware
from fran.training.interrupt import StopOnSignal, StopRequest
from fran.training.module import SegmentationModule
from fran.training.progress import ProgressLine
from fran.training.quiet import quiet_lightning
from fran.training.ranks import n_devices, n_nodes, other_ranks
from fran.training.resume import CheckpointState, check_same_model, find_resume, stored_init
from fran.training.schedule import Budget
from fran.training.spec import FitResult, TrainSpec

__all__ = ["FitResult", "TrainSpec", "fit"]

IN_CHANNELS = 1
log = logging.getLogger(__name__)


def fit(
    spec: TrainSpec,
    network: nn.Module | None = None,
    *,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    resume: Path | None = None,
) -> FitResult:
    """Train until the epochs, the time or the patience are used up.

    Args:
        spec: the training.
        network: instead of building `spec.network`, which must still describe it.
        loggers: of Lightning; none by default.
        callbacks: besides fran's own.
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
    columns = metric_columns(names_in_order(spec.data.labels, spec.vip_label), with_nsd=settings.val_nsd_mm is not None)
    files = RunFiles(spec.run_folder, columns, budget)
    end = BudgetEnd(budget, settings.early_stopping_epochs, files)
    # BudgetEnd reads what RunFiles wrote in the epoch before: a stop one epoch late saves an order between callbacks
    own: list[Callback] = [CheckpointState(meta, budget), end, files, CaseTables(spec.run_folder, files)]
    precision = resolve_precision(settings.precision, accelerator)
    own.append(Alarms(spec.run_folder, settings, accelerator, precision, falls=spec.init_from is None))
    if settings.optimiser.schedule == "plateau":
        own.append(PlateauRate(module.plateau))
    if settings.ema_decay:
        own.append(WeightAverage(settings.ema_decay))
    own.append(StopOnSignal(request, spec.run_folder / LAST, go_on(spec)))
    if settings.progress:
        own.append(ProgressLine(budget))
    work = {"spec": spec, "network": network if given else None, "resume": resume}
    with other_ranks(n_devices(settings.devices, accelerator), work):
        with quiet_lightning():
            trainer = make_trainer(spec, accelerator, [*own, *callbacks], loggers)
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


def complete_network(spec: TrainSpec) -> dict[str, Any]:
    """Network specification filled in from the data; `ConfigError` when the network cannot take the patch."""
    n_classes = spec.data.labels.n_classes
    filled = fill_spec(spec.network, IN_CHANNELS, n_classes, spec.patch_size, spec.spacing_mm, spec.trusted)
    check_patch_size(filled, spec.patch_size, spec.trusted)
    return filled


def make_datamodule(spec: TrainSpec, *, on_gpu: bool) -> CropDataModule:
    """Data module of a training."""
    settings = spec.trainer
    return CropDataModule(
        spec.data,
        spec.patch_size,
        settings.batch_size,
        settings.steps_per_epoch * settings.accumulate,
        fg_fraction=settings.fg_fraction,
        class_weights=settings.class_sampling_weights,
        samples_per_file=spec.samples_per_file,
        seed=settings.seed,
        num_workers=settings.num_workers,
        cache=settings.cache,
        case_weights=settings.case_sampling_weights,
        datasource_weights=settings.datasource_sampling_weights,
        max_val_cases=settings.max_val_cases,
        on_gpu=on_gpu,
        margins=augmentation_of(spec).margins,
        artefacts=Artefacts(spec.augmentation.transforms) if spec.augmentation.transforms else None,
    )


def augmentation_of(spec: TrainSpec) -> BatchAugmentation:
    """Augmentation of a training: without mirroring along an axis on which label names tell sides apart."""
    augmentation = spec.augmentation
    names = spec.data.labels.channel_names[1:]
    flips = augmentation.flip_p if augmentation.flip_lateral_labels else safe_flips(augmentation.flip_p, names)
    return BatchAugmentation(replace(augmentation, flip_p=list(flips)), spec.spacing_mm)


def carry_over(spec: TrainSpec, network: nn.Module, network_spec: Mapping[str, Any]) -> dict[str, Any]:
    """Let `network` start from another run where the training says so; what was taken, as plain data."""
    if spec.init_from is None:
        return {}
    check_unseen(spec.init_from, spec.project, spec.data.val_ids)
    taken = start_from(network, network_spec, spec.data.labels, spec.init_from, spec.trusted)
    for line in taken.lines():
        log.info("%s", line)
    return taken.plain()


def make_module(
    spec: TrainSpec, network: nn.Module, budget: Budget, data: CropDataModule, carried: Sequence[str] = ()
) -> SegmentationModule:
    """Lightning module of a training."""
    settings, augmentation = spec.trainer, augmentation_of(spec)
    check_class_weights(settings.loss.class_weights, spec.data.labels)
    flips = augmentation.settings.flip_p
    if flips != list(spec.augmentation.flip_p):
        log.info("label names tell sides apart: flip_p becomes %s; augmentation.flip_lateral_labels prevents it", flips)
    layout = torch.channels_last_3d if settings.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack the 3-D layout
    if settings.compile:
        network.compile()  # in place: the names in the state dict stay
    return SegmentationModule(
        network,
        spec.data.labels,
        spec.patch_size,
        augmentation=augmentation,
        optimiser=settings.optimiser,
        loss=settings.loss,
        budget=budget,
        validation=ValidationSettings(
            settings.val_overlap, settings.val_tile_batch, settings.val_nsd_mm, spacing_of_cases(data)
        ),
        channels_last=settings.channels_last,
        carried=carried,
    )


def spacing_of_cases(data: CropDataModule) -> dict[str, tuple[float, float, float]]:
    """Voxel size (x, y, z) in mm of each validation case as it is stored."""
    if data.cases is None:
        return {}
    source = data.cases.source
    return {case_id: source.manifest.cases[case_id].spacing_mm for case_id in source.case_ids}


def check_class_weights(weights: Sequence[float] | None, labels: LabelScheme) -> None:
    """Raise `ConfigError` when there is not one weight for each class."""
    if weights is not None and len(weights) != labels.n_classes:
        expected = f"one weight for each of {', '.join(labels.channel_names)}"
        raise ConfigError(f"trainer.loss.class_weights: expected {expected}, found {len(weights)}: {list(weights)}")


def make_trainer(
    spec: TrainSpec, accelerator: str, callbacks: Sequence[Callback], loggers: Sequence[Logger]
) -> pl.Trainer:
    """Lightning trainer of a training; it writes nothing by itself."""
    settings = spec.trainer
    validates = settings.val_every_n_epochs > 0 and len(spec.data.val_ids) > 0
    return pl.Trainer(
        default_root_dir=str(spec.run_folder),
        accelerator=accelerator,
        devices=n_devices(settings.devices, accelerator),
        num_nodes=n_nodes(),
        strategy=settings.strategy,
        precision=resolve_precision(settings.precision, accelerator),  # type: ignore[arg-type]  # checked by settings
        max_epochs=settings.max_epochs,
        min_epochs=0,
        accumulate_grad_batches=settings.accumulate,
        check_val_every_n_epoch=max(settings.val_every_n_epochs, 1),
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        deterministic=settings.deterministic,
        benchmark=accelerator == "gpu" and not settings.deterministic,
        use_distributed_sampler=False,
        logger=list(loggers) or False,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )


def checkpoint_meta(spec: TrainSpec, network_spec: Mapping[str, Any], data: CropDataModule) -> dict[str, Any]:
    """The ``fran`` section of a checkpoint: plain data from which the model can be built and applied again."""
    manifest = data.crops.source.manifest
    datasets = {
        "manifest": str(spec.data.manifest),
        "digest": manifest.digest(),
        "train": list(spec.data.train_ids),
        "val": list(spec.data.val_ids),
        **spec.datasets,
    }
    return {
        "format": FORMAT,
        "run": spec.run_folder.name,
        "project": spec.project,
        "network": dict(network_spec),
        "labels": spec.data.labels.to_dict(),
        "label_origin": [dict(row) for row in spec.label_origin],
        "unannotated": {ds: [int(v) for v in values] for ds, values in spec.data.unannotated.items() if values},
        "modality": spec.modality,
        "properties": dict(spec.data.properties),
        "optimiser": spec.trainer.optimiser.name,
        "spacing": [float(s) for s in spec.spacing_mm],
        "patch_size": [int(n) for n in spec.patch_size],
        "mode": spec.mode,
        "datasets": datasets,
        "fold": spec.fold,
        "folds_digest": spec.folds_digest,
        "config": dict(spec.config),
        "versions": dict(spec.versions),
        "git_commit": spec.git_commit,
    }


def names_in_order(labels: LabelScheme, first: int | None = None) -> list[str]:
    """Names of the labels, that of the value `first` before the others.

    Example:
        >>> names_in_order(LabelScheme((1, 2), {1: "kidney", 2: "tumour"}), first=2)
        ['tumour', 'kidney']
    """
    return [labels.names[value] for value in sorted(labels.values, key=lambda v: (v != first, v))]


def metric_columns(label_names: Sequence[str], *, with_nsd: bool = False) -> list[str]:
    """Names of the metrics that a training logs."""
    train = ["train/loss", "train/lr", "train/data_wait_share", "train/patches_per_s"]
    nsd = ["val/nsd", *(f"val/nsd_{name}" for name in label_names)] if with_nsd else []
    return [*train, "val/dice", *(f"val/{what}_{name}" for what in ("dice", "n") for name in label_names), *nsd]


def _result(
    spec: TrainSpec, trainer: pl.Trainer, module: SegmentationModule, files: RunFiles, end: BudgetEnd
) -> FitResult:
    best = spec.run_folder / BEST
    names = spec.data.labels.channel_names[1:]
    return FitResult(
        run_folder=spec.run_folder,
        last=spec.run_folder / LAST,
        best=best if best.exists() else None,
        best_dice=files.best_dice if files.best_epoch >= 0 else float("nan"),
        best_epoch=files.best_epoch,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        elapsed_s=files.budget.elapsed_s,
        stopped_by=end.reason,
        metrics={name: float(value) for name, value in trainer.callback_metrics.items()},
        case_dice={c: dict(zip(names, r.dice.tolist(), strict=True)) for c, r in module.case_results.items()},
    )
