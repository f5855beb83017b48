"""How long the last validation of a training will take, so that a budget of time can hold it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from fran.data.datamodule import CropDataModule
from fran.networks.tiling import Tiling, Vox
from fran.training.schedule import MOST_RESERVED, Budget

TILE_SHARE = 0.6
"""Of the time that training takes for a patch, what validation takes for a tile: a third for the network, which has no
backward pass, and as much again for blending tiles and measuring cases. As seen on a CPU."""
log = logging.getLogger(__name__)


class LastValidation(Callback):
    """Set aside in `Budget.reserve_s` what the latest validation took; before the first one, what steps let expect.

    A training without a limit of time, or without validation, sets nothing aside.

    Args:
        budget: of the training.
        n_tiles: tiles of a validation on this process.
        batch_size: patches of a forward pass in training, on this process.
    """

    def __init__(self, budget: Budget, n_tiles: int, batch_size: int) -> None:
        self.budget, self.n_tiles, self.batch_size = budget, n_tiles, batch_size
        self.measured = False
        self._began_s: float | None = None
        self._warm_s, self._steps = 0.0, 0
        self._said = False

    def state_dict(self) -> dict[str, Any]:
        """What is set aside, kept in the checkpoint."""
        return {"reserve_s": self.budget.reserve_s, "measured": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        if self.budget.max_time_s is not None:
            self.budget.reserve_s, self.measured = state_dict["reserve_s"], state_dict["measured"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Expect what the steps so far let expect, but the first one, which prepares much."""
        if self.measured or self.budget.max_time_s is None or not trainer.limit_val_batches:
            return
        self._steps += 1
        if self._steps == 1:
            self._warm_s = self.budget.elapsed_s
            return
        patch_s = (self.budget.elapsed_s - self._warm_s) / (self._steps - 1) / self.batch_size
        self.budget.reserve_s = TILE_SHARE * patch_s * self.n_tiles
        self._warn(self.budget.max_time_s)

    def _warn(self, max_time_s: float) -> None:
        if self._said or self._steps < 5 or self.budget.reserve_s <= MOST_RESERVED * max_time_s:
            return
        self._said = True
        log.warning(
            "trainer.max_time: the last validation alone will take about %.0f s of %.0f s, so the training will take"
            " longer than that; trainer.max_val_cases=2, say, validates fewer cases",
            *(self.budget.reserve_s, max_time_s),
        )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the clock."""
        self._began_s = self.budget.elapsed_s

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set aside what the epoch's validation took, with all that other callbacks did in it."""
        if self._began_s is not None and self.budget.max_time_s is not None:
            self.budget.reserve_s, self.measured = self.budget.elapsed_s - self._began_s, True
        self._began_s = None


def count_tiles(shapes: Iterable[Vox], patch_size: Vox, overlap: float) -> int:
    """Tiles in which volumes of these shapes are predicted, (x, y, z) voxels."""
    return sum(Tiling.of(shape, patch_size, overlap).n_tiles for shape in shapes)


def last_validation(budget: Budget, data: CropDataModule, overlap: float, world_size: int) -> LastValidation:
    """The callback for a training's own data, whose cases are shared out among processes."""
    source = data.cases.source if data.cases is not None else None
    shapes = [source.manifest.cases[case_id].shape for case_id in source.case_ids] if source is not None else []
    tiles = count_tiles(shapes, data.crops.patch_size, overlap)
    return LastValidation(budget, -(-tiles // world_size), data.batch_size)
