"""Lightning data module over a manifest: plain typed arguments, no question about the mode that made the data."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fran.data.artefacts import Artefacts
from fran.data.cache import choose_cache, room_in_memory, room_on
from fran.data.crops import CaseDataset, CropDataset, EpochSampler, collate
from fran.data.sampling import weights_by_file
from fran.data.source import CaseSource
from fran.data.workers import outlive_signals
from fran.errors import ConfigError
from fran.io.manifest import Manifest
from fran.labels import LabelScheme

AUTO = -1
MAX_AUTO_WORKERS = 8
log = logging.getLogger(__name__)
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
        cache: "none", "ram" or "device", see `fran.data.cache`; decided in `setup`, when the device is known.
        max_val_cases: validate on that many cases spread over `val_ids`, 0 for all.
        on_gpu: batches go to a GPU, so pinned memory helps.
        ranks: processes of the training on this machine, each with its own cases and loader processes.
        margins: what the augmentation draws in from around a patch, see `CropDataset`.
        artefacts: changes single crops, see `fran.data.artefacts`.
        case_weights: case id to how often it is drawn, see `fran.data.sampling`.
        datasource_weights: datasource to how often each of its cases is drawn.

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
        ranks: int = 1,
        margins: Callable[[int, Vox], tuple[Vox, Vox] | None] | None = None,
        artefacts: Artefacts | None = None,
        case_weights: Mapping[str, float] | None = None,
        datasource_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        shared = sorted(set(data.train_ids) & set(data.val_ids))
        if shared and not data.self_validated:
            raise ConfigError(f"folds: expected separate training and validation cases, found in both: {shared[:10]}")
        if batch_size < 1 or steps_per_epoch < 1:
            found = f"{batch_size} and {steps_per_epoch}"
            raise ConfigError(f"batch_size and steps_per_epoch: expected at least 1, found {found}")
        self.data, self.batch_size, self.steps_per_epoch = data, batch_size, steps_per_epoch
        self.workers = resolve_workers(num_workers, on_gpu=on_gpu, ranks=ranks)
        self.on_gpu, self.ranks = on_gpu, ranks
        # loaders draw a seed for their workers; from torch's own generator that would shift the network's dropout
        self.generator = torch.Generator().manual_seed(seed)
        manifest = Manifest.load(data.manifest)
        self.cache = cache
        source = self._source(manifest, data.train_ids)
        weights = weights_by_file(manifest, case_weights or {}, datasource_weights or {})
        drawn = fg_fraction, seed, weights, class_weights, samples_per_file, margins, artefacts
        self.crops = CropDataset(source, patch_size, *drawn)
        validated = spread(data.val_ids, max_val_cases)
        whole = manifest if data.val_manifest is None else Manifest.load(data.val_manifest)
        self.cases = CaseDataset(self._source(whole, validated)) if validated else None

    def _source(self, manifest: Manifest, ids: Sequence[str]) -> CaseSource:
        data = self.data
        maps = data.label_map, "none", data.unannotated, data.label_maps
        return CaseSource(manifest, ids, data.labels, data.properties, *maps)

    def setup(self, stage: str) -> None:
        """Fill the cache before workers are forked; say what it takes, or what is done instead where it is too much."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        source, cases = self.crops.source, self.cases.source if self.cases is not None else None
        train_bytes, val_bytes = source.bytes(on_device=self.cache == "device"), cases.bytes() if cases else 0
        samples, memory = source.foreground_bytes(), room_in_memory() // self.ranks
        # a GPU is a process's own, the memory of a CPU is not
        on_device = room_on(device) if device.type == "cuda" else memory
        chosen = choose_cache(self.cache, train_bytes, val_bytes, on_device, memory, samples)
        log.log(logging.WARNING if chosen.less else logging.INFO, chosen.says)
        source.hold(chosen.kind, device, foreground=True)
        if cases is not None:
            cases.hold("ram" if chosen.kind == "ram" else "none", device)
        if self.crops.case_shares is not None:
            log.info("crops come from %s", self._origins())

    def _origins(self) -> str:
        """Share of the crops by datasource, in words."""
        source, found = self.crops.source, Counter[str]()
        assert self.crops.case_shares is not None
        for case_id, share in zip(source.case_ids, self.crops.case_shares.tolist(), strict=True):
            found[source.manifest.cases[case_id].datasource] += share
        return ", ".join(f"{name or 'one datasource'} {share:.0%}" for name, share in found.most_common())

    def _processes(self, source: CaseSource, most: int) -> dict[str, Any]:
        """Loader arguments about its processes: none where crops are cut on a device, no copies of a memory cache."""
        workers = 0 if source.cache == "device" else min(most, self.workers)
        if source.cache == "none" or not workers:
            return {"num_workers": workers}
        if sys.platform != "linux":
            log.info("trainer.cache=ram: no loader processes, for on this system each would copy the cases")
            return {"num_workers": 0}
        return {"num_workers": workers, "multiprocessing_context": "fork"}

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of one epoch."""
        rank, world = self._rank()
        sampler = EpochSampler(self.batch_size * self.steps_per_epoch, rank, world, self.crops.samples_per_file)
        if self.trainer:
            # Lightning starts the first iteration of a resumed training before it calls `set_epoch`
            epoch, batches = begun(self.trainer)
            sampler.go_on(epoch, batches * self.batch_size)
        processes = self._processes(self.crops.source, self.workers)
        return DataLoader(
            self.crops,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            pin_memory=self.on_gpu and self.crops.source.cache != "device",
            persistent_workers=processes["num_workers"] > 0,
            prefetch_factor=4 if processes["num_workers"] else None,
            generator=self.generator,
            **processes,
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
            # a process without a case would leave validation out and let the others wait; its answer counts once
            sampler=[*range(rank, len(self.cases), world)] or [rank % len(self.cases)],
            collate_fn=collate,
            generator=self.generator,
            **self._processes(self.cases.source, 1),
            worker_init_fn=outlive_signals,
        )


def begun(trainer: pl.Trainer) -> tuple[int, int]:
    """The epoch that a training goes on with, and how many of its batches an interrupted one has used."""
    loop = trainer.fit_loop
    epoch = loop.epoch_progress.current
    unfinished = epoch.ready > epoch.processed  # type: ignore[attr-defined]  # typed as its base class
    batches = loop.epoch_loop.batch_progress.current.processed if unfinished else 0  # type: ignore[attr-defined]
    return epoch.processed, batches  # type: ignore[attr-defined]


def resolve_workers(num_workers: int, *, on_gpu: bool, ranks: int = 1) -> int:
    """Loader processes of one of `ranks` processes for `num_workers`, where -1 means: choose.

    A crop costs about a millisecond, so on a CPU, which the network keeps busy, none are started. On a GPU it is a
    process for each core of this process's share but one.
    """
    if num_workers < AUTO:
        raise ConfigError(f"trainer.num_workers: expected -1 (automatic) or more, found {num_workers}")
    if num_workers != AUTO:
        return num_workers
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_AUTO_WORKERS, max(0, usable // ranks - 1)) if on_gpu else 0


def spread(ids: Sequence[str], limit: int) -> tuple[str, ...]:
    """At most `limit` of `ids`, evenly spread; all for 0.

    Example:
        >>> spread(["a", "b", "c", "d", "e"], 2)
        ('a', 'c')
    """
    if limit <= 0 or len(ids) <= limit:
        return tuple(ids)
    return tuple(ids[round(i * len(ids) / limit)] for i in range(limit))
