"""A table of each validation, and the best one's in the run's folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from fran.io.case_table import FILE, write_cases
from fran.io.files import atomic_path
from fran.training.callbacks import RunFiles
from fran.training.case_scores import table_rows
from fran.training.module import SegmentationModule

FOLDER = "validation"


def table_path(run_folder: Path, epoch: int) -> Path:
    """Table of the validation after an epoch, counted from 1."""
    return run_folder / FOLDER / f"epoch_{epoch:04d}.csv"


class CaseTables(Callback):
    """Write validation/epoch_XXXX.csv after each validation and keep the best epoch's as cases.csv.

    Args:
        run_folder: of the run.
        files: knows the best `val/dice` so far.
    """

    def __init__(self, run_folder: Path, files: RunFiles) -> None:
        self.run_folder, self.files = run_folder, files

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the tables of epochs that a resumed training repeats."""
        if not trainer.is_global_zero:
            return
        for path in (self.run_folder / FOLDER).glob("epoch_*.csv"):
            number = path.stem.removeprefix("epoch_")
            if number.isdigit() and int(number) > trainer.current_epoch:
                path.unlink()
        best = table_path(self.run_folder, self.files.best_epoch)
        if self.files.best_epoch and best.is_file():
            self._keep(best)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write this validation's table."""
        if trainer.sanity_checking:
            return
        dice = float(trainer.callback_metrics["val/dice"])  # the first to ask waits for all processes
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SegmentationModule)
        path = table_path(self.run_folder, trainer.current_epoch + 1)
        write_cases(path, table_rows(pl_module.case_results, pl_module.labels.channel_names[1:]))
        # RunFiles takes the new value over at the end of the epoch
        if dice > self.files.best_dice:
            self._keep(path)

    def _keep(self, table: Path) -> None:
        with atomic_path(self.run_folder / FILE) as temporary:
            shutil.copyfile(table, temporary)
