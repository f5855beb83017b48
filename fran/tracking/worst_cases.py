"""Pictures of the cases that the best validation did worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from fran import keys
from fran.tracking.guard import warn_only
from fran.training.module import SegmentationModule

PREDICTION = "prediction"
FOLDER = "overlays"
Draw = Callable[..., object]


@dataclass(frozen=True, eq=False)
class KeptCase:
    """One validated case: mean Dice over its labels, image as float16, both label maps in channels; (x, y, z)."""

    case_id: str
    dice: float
    image: NDArray[np.float16]
    pred: NDArray[np.unsignedinteger[Any]]
    ref: NDArray[np.unsignedinteger[Any]]


class WorstCases(pl.Callback):
    """Draw ``overlays/worst_<rank>_<case>_epoch_XXXX.png`` whenever a validation is the best so far.

    They belong to the run's cases.csv: a new best validation takes the pictures of the one before away. Only as many
    cases as are drawn are kept in memory. A case without any Dice is never among them.

    Args:
        run_folder: of the run.
        draw: such as `fran.reporting.overlay.overlay_png`.
        label_names: channel to name, for the legend.
        count: cases drawn.
    """

    def __init__(self, run_folder: Path | str, draw: Draw, label_names: Mapping[int, str], count: int = 3) -> None:
        self.folder = Path(run_folder) / FOLDER
        self.draw, self.label_names, self.count = draw, label_names, count
        self.best_dice = -math.inf
        self._kept: list[KeptCase] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the former validation."""
        self._kept = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the case while it is among the worst of this process."""
        assert isinstance(pl_module, SegmentationModule)
        case_id = outputs[keys.CASE_ID]
        dice = pl_module.case_results[case_id].mean_dice
        full = len(self._kept) == self.count
        if self.count and not math.isnan(dice) and not (full and dice >= self._kept[-1].dice):
            self._kept = sorted([*self._kept, _kept(outputs, dice)], key=_order)[: self.count]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw those of this process that are among the worst of all."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, SegmentationModule)
        dice = float(trainer.callback_metrics["val/dice"])
        if dice > self.best_dice:
            self.best_dice = dice
            self._replace(trainer, pl_module)
        self._kept = []

    def state_dict(self) -> dict[str, Any]:
        """The best mean Dice so far."""
        return {"best_dice": self.best_dice}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.best_dice = float(state_dict["best_dice"])

    def _replace(self, trainer: pl.Trainer, module: SegmentationModule) -> None:
        if trainer.is_global_zero:
            for old in self.folder.glob("worst_*.png"):
                old.unlink()
        trainer.strategy.barrier("worst cases")
        known = {case: result.mean_dice for case, result in module.case_results.items()}
        ranked = sorted((dice, case) for case, dice in known.items() if not math.isnan(dice))[: self.count]
        ranks = {case: place for place, (_, case) in enumerate(ranked, 1)}
        for kept in self._kept:
            if kept.case_id in ranks:
                name = f"worst_{ranks[kept.case_id]}_{kept.case_id}_epoch_{trainer.current_epoch + 1:04d}.png"
                spacing_mm = module.validation.spacing_of(kept.case_id)
                with warn_only(f"the picture {self.folder / name} was not made"):
                    arrays = kept.image.astype(np.float32), kept.pred, kept.ref
                    how = {"case_id": kept.case_id, "at_errors": True}
                    self.draw(*arrays, self.label_names, spacing_mm, self.folder / name, **how)


def _order(kept: KeptCase) -> tuple[float, str]:
    return kept.dice, kept.case_id


def _kept(outputs: Mapping[str, Any], dice: float) -> KeptCase:
    def array(name: str) -> NDArray[Any]:
        tensor = outputs[name].detach().cpu()
        found: NDArray[Any] = tensor.numpy().reshape(tensor.shape[-3:])
        return found

    pred, ref = array(PREDICTION), array(keys.LM)
    kind = np.uint8 if max(pred.max(initial=0), ref.max(initial=0)) < 256 else np.uint16
    image = array(keys.IMAGE).astype(np.float16)
    return KeptCase(outputs[keys.CASE_ID], dice, image, pred.astype(kind), ref.astype(kind))
