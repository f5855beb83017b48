"""The parts of a training, each made from its `TrainSpec`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
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
from fran.errors import ConfigError
from fran.labels import LabelScheme
from fran.networks.build import check_patch_size, fill_spec
from fran.training.callbacks import AtomicCheckpointIO
from fran.training.case_scores import ValidationSettings
from fran.training.hardware import resolve_precision
from fran.training.module import SegmentationModule
from fran.training.ranks import n_devices, n_nodes
from fran.training.schedule import Budget
from fran.training.spec import TrainSpec

IN_CHANNELS = 1
log = logging.getLogger(__name__)


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
        ranks=n_devices(settings.devices, "gpu" if on_gpu else "cpu"),
        margins=augmentation_of(spec).margins,
        artefacts=Artefacts(spec.augmentation.transforms) if spec.augmentation.transforms else None,
    )


def augmentation_of(spec: TrainSpec) -> BatchAugmentation:
    """Augmentation of a training: without mirroring along an axis on which label names tell sides apart."""
    augmentation = spec.augmentation
    names = spec.data.labels.channel_names[1:]
    flips = augmentation.flip_p if augmentation.flip_lateral_labels else safe_flips(augmentation.flip_p, names)
    return BatchAugmentation(replace(augmentation, flip_p=list(flips)), spec.spacing_mm)


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
