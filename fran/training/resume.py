"""What a checkpoint carries besides Lightning's own state, and how a training finds its way back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from fran.data.datamodule import CropDataModule
from fran.errors import ConfigError, StoreError
from fran.io.checkpoint import BEST, FORMAT, LAST, SECTION, read_checkpoint
from fran.training.schedule import Budget
from fran.training.spec import TrainSpec

STATE = "fran_state"
SAME = ("network", "labels", "patch_size", "spacing", "mode", "optimiser")
log = logging.getLogger(__name__)


class CheckpointState(Callback):
    """Put the ``fran`` section, used time and random state into each checkpoint, and take the latter two out again.

    Args:
        meta: the ``fran`` section.
        budget: whose clock this starts.
    """

    def __init__(self, meta: dict[str, Any], budget: Budget) -> None:
        self.meta, self.budget = meta, budget
        self._random: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the sections."""
        checkpoint[SECTION] = self.meta
        checkpoint[STATE] = {"elapsed_s": self.budget.elapsed_s, "random": random_state()}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the state until training starts: setting up draws random numbers too."""
        self.budget.elapsed_before_s = used = float(checkpoint[STATE]["elapsed_s"])
        if self.budget.max_time_s is not None:
            left = max(0.0, self.budget.max_time_s - used)
            said = "trainer.max_time: of %.0f s for the whole run %.0f s are used, %.0f s are left%s"
            more = "" if left > used / 10 else "; trainer.max_time=<more> lets it go on longer"
            log.log(logging.WARNING if more else logging.INFO, said, self.budget.max_time_s, used, left, more)
        self._random = checkpoint[STATE]["random"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock and go on with the random state."""
        self.budget.start()
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None


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


def random_state() -> dict[str, Any]:
    """State of torch's generators, as tensors. Crops and augmentation need none: they follow from seed and index."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Inverse of `random_state`; GPUs are restored where there are as many as before."""
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


def find_resume(path: Path) -> Path:
    """Checkpoint to resume from: the file itself, or last.ckpt of a run folder, or best.ckpt where last is unreadable.

    Raises:
        StoreError: none of them can be read.
    """
    candidates = [path / LAST, path / BEST] if path.is_dir() else [path]
    if path.name == LAST:
        candidates.append(path.with_name(BEST))
    reasons = []
    for candidate in candidates:
        try:
            _check_resumable(candidate)
        except StoreError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            log.warning("%s; resuming from %s instead", reason, candidate)
        return candidate
    raise StoreError("resume: no readable checkpoint. " + "; ".join(reasons))


def _check_resumable(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    lacking = [k for k in (SECTION, STATE, "state_dict", "optimizer_states", "loops") if k not in checkpoint]
    if lacking:
        raise StoreError(f"checkpoint: {path} lacks {', '.join(lacking)}, so training cannot go on from it")


def check_same_model(path: Path, meta: Mapping[str, Any]) -> None:
    """Raise `ConfigError` when that checkpoint is of another network, labels, patch, spacing or optimiser."""
    stored = read_checkpoint(path)[SECTION]
    different = [key for key in SAME if key in stored and stored[key] != meta[key]]
    if different:
        lines = "; ".join(f"{key}: expected {stored[key]}, found {meta[key]}" for key in different)
        raise ConfigError(f"resume: {path} was trained with other settings: {lines}. Start a new run instead")
    check_same_cases(path, stored, meta)


def stored_init(path: Path) -> dict[str, Any]:
    """What the run of a checkpoint started from, see `fran.training.finetune`."""
    found: dict[str, Any] = read_checkpoint(path)[SECTION].get("init", {})
    return found


def check_same_cases(path: Path, stored: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Refuse to validate on cases that the run was trained on so far; say what else changed about the cases.

    Raises:
        ConfigError: naming such cases.
    """
    before, now = (
        {side: set(section["datasets"].get(side, ())) for side in ("train", "val")} for section in (stored, meta)
    )
    seen = sorted((before["train"] - before["val"]) & now["val"])
    if seen:
        listed = ", ".join(seen[:10])
        raise ConfigError(
            f"resume: expected validation cases that {path} was not trained on, found {len(seen)} it was trained on:"
            f" {listed}. Resume with the run's own fold ({stored.get('fold')}), or start a new run"
        )
    changes = {
        f"{side}: {len(now[side] - before[side])} cases are new, {len(before[side] - now[side])} are gone"
        for side in before
        if before[side] != now[side]
    }
    if stored.get("unannotated", {}) != meta.get("unannotated", {}):
        changes.add(f"unannotated labels: {stored.get('unannotated', {})}, now {meta.get('unannotated', {})}")
    for change in sorted(changes):
        log.warning("resume: %s was trained on other data; %s", path.parent.name, change)
