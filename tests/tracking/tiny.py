"""Trainings of a one-weight network, tracked in a real MLflow store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from fran.tracking.mlflow_logger import make_logger
from fran.tracking.settings import TrackingSettings
from fran.tracking.track_run import RunFacts, TrackRun

CONFIG = {"spacing": [0.8, 0.8, 1.5], "trainer": {"lr": 0.1}, "long": "x" * 400, **{f"many{i}": i for i in range(120)}}


class Tiny(pl.LightningModule):
    """Learns one weight; fails at the epoch it is told to, and takes the time it is told to."""

    def __init__(self, fail_at: int | None = None, epoch_s: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.fail_at, self.epoch_s = fail_at, epoch_s

    def on_train_epoch_end(self) -> None:
        time.sleep(self.epoch_s)

    def training_step(self, batch: Any) -> torch.Tensor:
        if self.current_epoch == self.fail_at:
            raise RuntimeError("out of luck")
        loss = (self.weight * batch[0]).square().mean()
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Any) -> dict[str, Any]:
        self.log("val_dice", self.weight.mean())
        lm = torch.zeros((1, 1, 6, 5, 4), dtype=torch.uint8)
        lm[..., 1:3, 2:4, 1:3] = 1
        image = torch.arange(120, dtype=torch.float32).reshape(1, 1, 6, 5, 4)
        return {"case_id": "kits_4", "image": image, "lm": lm, "prediction": lm[0, 0].long()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(
    folder: Path,
    epochs: int,
    config: dict[str, Any] | None = None,
    system_every_s: float = 0.0,
    uri: str | None = None,
    callbacks: Sequence[pl.Callback] = (),
    **kwargs: Any,
) -> str:
    """Train in <folder>/proj and <folder>/run; return the MLflow run id."""
    resume = (folder / "run" / "last.ckpt") if (folder / "run" / "last.ckpt").exists() else None
    logger = make_logger(
        TrackingSettings(uri=uri, tags={"site": "here"}),
        project="kits", run_name="plan1-tiny-f0-1", project_folder=folder / "proj", run_folder=folder / "run",
    )  # fmt: skip
    assert logger is not None
    facts = RunFacts(
        config=config or CONFIG, config_yaml="plan: {}\n", versions={"fran": "0.1"}, git_commit="a" * 40,
        dataset="kits", dataset_digest="d" * 32, dataset_source="/data/manifest.json", label_names={1: "kidney"},
        tags={"folds_digest": "f" * 16, "unannotated": ""},
    )  # fmt: skip
    track = TrackRun(facts, folder / "run", draw=draw, overlay_every=2, system_every_s=system_every_s)
    checkpoint = ModelCheckpoint(folder / "run", "best", monitor="val_dice", mode="min", save_last=True)
    trainer = pl.Trainer(
        max_epochs=epochs, logger=logger, callbacks=[track, checkpoint, *callbacks], accelerator="cpu",
        log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    try:
        trainer.fit(Tiny(**kwargs), loader, loader, ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        assert str(error) == "out of luck"
    return str(logger.run_id)


def draw(image: Any, pred: Any, ref: Any, names: Any, spacing_mm: Any, path: Path, *, case_id: str) -> None:
    assert names == {1: "kidney"}
    assert spacing_mm == [0.8, 0.8, 1.5]
    assert image[1, 2, 3] == 1 * 20 + 2 * 4 + 3
    assert pred.shape == ref.shape == (6, 5, 4)
    assert (pred == ref).all()
    assert ref[1, 2, 1] == 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"picture of " + case_id.encode())
