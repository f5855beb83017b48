"""Small trainings in a process of their own: see the end for arguments."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from fran.augmentation.settings import AugmentationSettings
from fran.data.datamodule import DataSpec
from fran.labels import LabelScheme
from fran.training.fit import fit
from fran.training.interrupt import TrainingInterrupted
from fran.training.settings import OptimiserSettings, TrainerSettings
from fran.training.spec import TrainSpec


class Slow(Callback):
    def on_train_batch_start(self, *_):
        time.sleep(0.1)


def train(phantoms: str, epochs: str, speed: str, run: str) -> None:
    ids = tuple(f"case{i}" for i in range(5))
    labels = LabelScheme((3, 7), {3: "organ", 7: "lesion"})
    properties = {"intensity_clip_range": [-100.0, 250.0], "mean_fg": 110.0, "std_fg": 50.0}
    settings = TrainerSettings(
        max_epochs=int(epochs),
        steps_per_epoch=4,
        accelerator="cpu",
        precision="32-true",
        threads=1,
        num_workers=1,
        val_every_n_epochs=2,
        progress=False,
        optimiser=OptimiserSettings(lr=1e-2),
    )
    torch.manual_seed(1)
    # dropout makes the random state part of what a resume must bring back
    network = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.Dropout3d(0.3), nn.Conv3d(6, 3, 3, padding=1))
    spec = TrainSpec(
        Path(run),
        DataSpec(Path(phantoms), ids[:3], ids[3:], labels, properties),
        {"_target_": "torch.nn.Conv3d", "kernel_size": 3, "padding": 1},
        (24, 16, 16),
        (1.0, 1.2, 2.5),
        settings,
        AugmentationSettings(),
    )
    resume = Path(run) if speed == "resume" else None
    try:
        result = fit(spec, network, callbacks=[Slow()] if speed == "slow" else [], resume=resume)
    except TrainingInterrupted as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.status)
    sys.stdout.write(f"{result.epochs} {result.steps}\n")


if __name__ == "__main__":
    phantoms_folder, max_epochs, *jobs = sys.argv[1:]
    for how, folder in zip(jobs[::2], jobs[1::2], strict=True):
        train(phantoms_folder, max_epochs, how, folder)
