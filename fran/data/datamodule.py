"""Lightning data module over a manifest: plain typed arguments, no question about the mode that made the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fran.data.crops import CaseDataset, CropDataset, EpochSampler, collate
from fran.data.source import CaseSource
from fran.data.workers import outlive_signals
from fran.errors import ConfigError
from fran.io.manifest import Manifest
from fran.labels import LabelScheme

AUTO = -1
MAX_AUTO_WORKERS = 8
Vox = tuple[int, int, int]


@dataclass(frozen=True)
class DataSpec:
    """Which cases train and which validate.

    Attributes:
        manifest: folder of a manifest.
        train_ids, val_ids: case ids; `val_ids` may be empty.
        labels: label values, names, channels.
        properties: the dataset's properties (intensity_clip_range, mean_fg, std_fg for CT).
        label_map: stored value to value, applied on the fly.
        label_maps: datasource to a map that takes the place of `label_map` for its cases; it lists every value.
        case_weights: case id to relative sampling frequency.
        val_manifest: folder of the manifest that validation reads, where that is another one: whole cases, say, for a
            training on patches. None is `manifest`.
        self_validated: validation on the training cases is meant, as with a project of one case.
        unannotated: datasource to label values (of `labels`) that its annotators did not draw: there its cases
            neither teach nor judge these labels.
    """

    manifest: Path
    train_ids: tuple[str, ...]
    val_ids: tuple[str, ...]
    labels: LabelScheme
    properties: Mapping[str, Any] = field(default_factory=dict)
    label_map: Mapping[int, int] = field(default_factory=dict)
    label_maps: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    case_weights: Mapping[str, float] = field(default_factory=dict)
    self_validated: bool = False
    unannotated: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    val_manifest: Path | None = None


class CropDataModule(pl.LightningDataModule):
    """Foreground-biased crops for training, whole cases for validation.

    Args:
        data: the cases.
        patch_size: (x, y, z) voxels.
        batch_size: crops per step and process.
        steps_per_epoch: optimiser steps per epoch.
        fg_fraction: see `CropDataset`.
        class_weights: label name to sampling frequency, see `CropDataset`.
        samples_per_file: consecutive crops of one case, see `CropDataset`.
        seed: of the crops and their augmentation.
        num_workers: loader processes, -1 chooses from the number of cores.
        cache: "none" or "ram".
        max_val_cases: validate on that many cases spread over `val_ids`, 0 for all.
        on_gpu: batches go to a GPU, so pinned memory helps.
        margins: what the augmentation draws in from around a patch, see `CropDataset`.

    Raises:
        ConfigError: training and validation share a case, or a size is not positive.
    """

    def __init__(
        self,
        data: DataSpec,
        patch_size: Vox,
        batch_size: int,
        steps_per_epoch: int,
        *,
        fg_fraction: float = 0.5,
        class_weights: Mapping[str, float] | None = None,
        samples_per_file: int = 1,
        seed: int = 0,
        num_workers: int = AUTO,
        cache: str = "none",
        max_val_cases: int = 0,
        on_gpu: bool = False,
        margins: Callable[[int, Vox], tuple[Vox, Vox] | None] | None = None,
    ) -> None:
        super().__init__()
        shared = sorted(set(data.train_ids) & set(data.val_ids))
        if shared and not data.self_validated:
            raise ConfigError(f"folds: expected separate training and validation cases, found in both: {shared[:10]}")
        if batch_size < 1 or steps_per_epoch < 1:
            found = f"{batch_size} and {steps_per_epoch}"
            raise ConfigError(f"batch_size and steps_per_epoch: expected at least 1, found {found}")
        self.data, self.batch_size, self.steps_per_epoch = data, batch_size, steps_per_epoch
        self.workers = resolve_workers(num_workers, on_gpu=on_gpu)
        self.on_gpu = on_gpu
        # loaders draw a seed for their workers; from torch's own generator that would shift the network's dropout
        self.generator = torch.Generator().manual_seed(seed)
        manifest = Manifest.load(data.manifest)
        source = self._source(manifest, data.train_ids, cache)
        weights = weights_by_file(manifest, data.case_weights)
        drawn = fg_fraction, seed, weights, class_weights, samples_per_file, margins
        self.crops = CropDataset(source, patch_size, *drawn)
        validated = spread(data.val_ids, max_val_cases)
        whole = manifest if data.val_manifest is None else Manifest.load(data.val_manifest)
        self.cases = CaseDataset(self._source(whole, validated, cache)) if validated else None

    def _source(self, manifest: Manifest, ids: Sequence[str], cache: str) -> CaseSource:
        data = self.data
        maps = data.label_map, cache, data.unannotated, data.label_maps
        return CaseSource(manifest, ids, data.labels, data.properties, *maps)

    def setup(self, stage: str) -> None:
        """Fill the memory cache before workers are forked."""
        self.crops.source.preload()
        if self.cases is not None:
            self.cases.source.preload()

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of one epoch."""
        rank, world = self._rank()
        sampler = EpochSampler(self.batch_size * self.steps_per_epoch, rank, world, self.crops.samples_per_file)
        if self.trainer:
            # Lightning starts the first iteration of a resumed training before it calls `set_epoch`
            epoch, batches = begun(self.trainer)
            sampler.go_on(epoch, batches * self.batch_size)
        return DataLoader(
            self.crops,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=self.on_gpu,
            persistent_workers=self.workers > 0,
            prefetch_factor=4 if self.workers else None,
            generator=self.generator,
            worker_init_fn=outlive_signals,
        )

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[DataLoader[dict[str, Any]]]:
        """One whole case at a time, shared among processes; nothing where there are no validation cases."""
        if self.cases is None:
            return []
        rank, world = self._rank()
        return DataLoader(
            self.cases,
            batch_size=1,
            sampler=range(rank, len(self.cases), world),
            collate_fn=collate,
            num_workers=min(1, self.workers),
            generator=self.generator,
            worker_init_fn=outlive_signals,
        )


def begun(trainer: pl.Trainer) -> tuple[int, int]:
    """The epoch that a training goes on with, and how many of its batches an interrupted one has used."""
    loop = trainer.fit_loop
    epoch = loop.epoch_progress.current
    unfinished = epoch.ready > epoch.processed  # type: ignore[attr-defined]  # typed as its base class
    batches = loop.epoch_loop.batch_progress.current.processed if unfinished else 0  # type: ignore[attr-defined]
    return epoch.processed, batches  # type: ignore[attr-defined]


def weights_by_file(manifest: Manifest, by_case: Mapping[str, float]) -> dict[str, float]:
    """Weight of each file of a manifest: a case's weight is shared by its files."""
    files = manifest.files_by_case() if by_case else {}
    return {f: weight / len(files[c]) for c, weight in by_case.items() if c in files for f in files[c]}


def resolve_workers(num_workers: int, *, on_gpu: bool) -> int:
    """Loader processes for `num_workers`, where -1 means: choose.

    A crop costs about a millisecond, so on a CPU, which the network keeps busy, none are started.
    """
    if num_workers < AUTO:
        raise ConfigError(f"trainer.num_workers: expected -1 (automatic) or more, found {num_workers}")
    if num_workers != AUTO:
        return num_workers
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_AUTO_WORKERS, usable - 1) if on_gpu else 0


def spread(ids: Sequence[str], limit: int) -> tuple[str, ...]:
    """At most `limit` of `ids`, evenly spread; all for 0.

    Example:
        >>> spread(["a", "b", "c", "d", "e"], 2)
        ('a', 'c')
    """
    if limit <= 0 or len(ids) <= limit:
        return tuple(ids)
    return tuple(ids[round(i * len(ids) / limit)] for i in range(limit))
