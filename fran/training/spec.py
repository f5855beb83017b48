"""What a training is made of and what it leaves behind, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fran.augmentation.settings import AugmentationSettings
from fran.data.datamodule import DataSpec
from fran.training.settings import TrainerSettings

Vox = tuple[int, int, int]


@dataclass(frozen=True)
class TrainSpec:
    """Everything that defines one training, as plain values.

    Attributes:
        run_folder: existing folder of the run, see `fran.io.checkpoint.new_run_folder`; its name is the run's name.
        data: the cases, labels and properties.
        network: specification with `_target_`; channels, patch size and spacing are filled in.
        patch_size: (x, y, z) voxels.
        spacing_mm: (x, y, z) of the preprocessed cases.
        trainer, augmentation: settings.
        project, modality, mode, fold: recorded in the checkpoint.
        trusted: modules of the user's own that the network may come from.
        samples_per_file: consecutive crops of one case.
        vip_label: label value that comes first among the metrics.
        label_origin: what each label of each datasource became, one plain row each, recorded in the checkpoint.
        folds_digest: of the frozen folds, recorded in the checkpoint: runs with equal ones can be compared.
        config: the resolved configuration, recorded in the checkpoint.
        init_from: run folder or checkpoint whose weights the network starts with, see `fran.training.finetune`.
        versions, git_commit, datasets: recorded in the checkpoint; `datasets` besides train and val ids.
    """

    run_folder: Path
    data: DataSpec
    network: Mapping[str, Any]
    patch_size: Vox
    spacing_mm: tuple[float, float, float]
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    project: str = ""
    modality: str = "CT"
    mode: str = "source"
    fold: int | str | None = None
    trusted: tuple[str, ...] = ()
    samples_per_file: int = 1
    vip_label: int | None = None
    label_origin: Sequence[Mapping[str, Any]] = ()
    folds_digest: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str = ""
    datasets: Mapping[str, Any] = field(default_factory=dict)
    init_from: Path | None = None

    @property
    def label_names(self) -> list[str]:
        """Names of the labels in the order in which they are reported."""
        labels = self.data.labels
        return [labels.names[value] for value in sorted(labels.values, key=lambda v: (v != self.vip_label, v))]


@dataclass(frozen=True)
class FitResult:
    """What a training left behind.

    Attributes:
        run_folder: with last.ckpt, best.ckpt and metrics.csv.
        last: the newest checkpoint.
        best: the checkpoint of the highest validation Dice, None where nothing was validated.
        best_dice: that Dice, NaN where nothing was validated.
        best_epoch: counted from 1, 0 where nothing was validated.
        epochs, steps: completed, resumed ones included.
        elapsed_s: seconds, resumed ones included.
        stopped_by: "max_epochs", "max_time" or "early_stopping".
        metrics: the latest value of each metric.
        case_dice: case id to Dice per label name at the last validation.
    """

    run_folder: Path
    last: Path
    best: Path | None
    best_dice: float
    best_epoch: int
    epochs: int
    steps: int
    elapsed_s: float
    stopped_by: str
    metrics: dict[str, float]
    case_dice: dict[str, dict[str, float]]
