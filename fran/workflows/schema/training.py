"""Verbs about networks and trainings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fran.augmentation.settings import AugmentationSettings
from fran.plans.schema import Plan
from fran.tracking.settings import TrackingSettings
from fran.training.settings import TrainerSettings
from fran.workflows.schema.parts import PathsConfig, PreprocessConfig, ProjectConfig, ProjectVerbConfig


@dataclass
class TrainingConfig(Plan):
    """The settings of a training, for the verbs that run one and for those that look at what it would be."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    model: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    fold: Any = 0
    run: str | None = None
    resume: str | None = None
    init_from: str | None = None
    find_batch_size: bool = False
    sweep: str | None = None
    search: str | None = None


@dataclass
class TrainConfig(TrainingConfig):
    """`fran train`."""

    dry_run: bool = False
    json: bool = False


@dataclass
class ModelsConfig(TrainingConfig):
    """`fran model ls` and `show`: the settings of a training, whose networks are looked at."""

    json: bool = False


@dataclass
class CvConfig(TrainConfig):
    """`fran cv`."""

    folds: Any = None


@dataclass
class CvShowConfig(ProjectVerbConfig):
    """`fran cv show`."""

    group: str | None = None
    runs: list[str] | None = None
    level: float = 0.95
    samples: int = 10_000
    seed: int = 0
    json: bool = False


@dataclass
class SweepShowConfig(ProjectVerbConfig):
    """`fran sweep show`."""

    sweep: str | None = None
    level: float = 0.95
    samples: int = 10_000
    seed: int = 0
    seeds: int = 5
    json: bool = False


@dataclass
class CropsConfig(TrainingConfig):
    """`fran crops`."""

    count: int = 24
    operations: bool = False
    output: str | None = None


@dataclass
class MlflowMergeConfig(ProjectVerbConfig):
    """`fran mlflow merge`."""

    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    folder: str | None = None
