"""Verbs about predictions, scores and models to hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fran.workflows.schema.parts import MISSING, PathsConfig, ProjectConfig, ProjectVerbConfig


@dataclass
class PredictConfig:
    """How networks look at an image, and with what memory."""

    mirror: Any = field(default_factory=list)
    device: str = "auto"
    precision: str = "auto"
    overlap: float = 0.5
    tile_batch: int = 2
    ram: str | None = None
    vram: str | None = None


@dataclass
class InferConfig(PredictConfig):
    """`fran infer`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    runs: list[str] = MISSING
    input: str = MISSING
    output: str | None = None
    overwrite: bool = False
    series: str | None = None
    format: str | None = None
    save_probabilities: bool = False
    postprocess: Any = True  # or false, or a file
    tracking_uri: str | None = None
    checkpoint: str = "best"
    ensemble: str = "mean"
    localiser: str | None = None
    localiser_regions: list[str] | None = None
    localiser_empty: str = "whole"
    margin_mm: float | None = None
    scratch: str | None = None
    backend: str = "local"
    ray_address: str = "auto"
    actors: int | None = None
    actor_cpus: int | None = None
    actor_gpus: float | None = None
    json: bool = False


@dataclass
class PostprocessConfig(ProjectVerbConfig):
    """`fran postprocess`."""

    input: str = MISSING
    output: str = MISSING
    rules: str | None = None
    overwrite: bool = False
    num_processes: int = 1


@dataclass
class PostprocessSearchConfig(ProjectVerbConfig, PredictConfig):
    """`fran postprocess search`."""

    group: str | None = None
    runs: list[str] | None = None
    pred: str | None = None
    gt: str | None = None
    datasource: str | None = None
    labels: Any = None  # a command line cannot put whole-number keys into a typed dict; see label_names
    adopt: bool = True
    level: float = 0.95
    samples: int = 10_000
    seed: int = 0
    num_processes: int = 1


@dataclass
class ScoreConfig:
    """`fran score`."""

    pred: str = MISSING
    gt: str | None = None
    against: str | None = None
    cases: str = "all"
    datasource: str | None = None
    output: str | None = None
    labels: Any = None  # a command line cannot put whole-number keys into a typed dict; see label_names
    metrics: list[str] = field(default_factory=list)
    nsd_mm: Any = 2.0  # or by label
    lesion_iou: float = 0.1
    num_processes: int = -1
    level: float = 0.95
    samples: int = 10_000
    seed: int = 0
    pictures: int = 12
    images: str | None = None
    json: bool = False


@dataclass
class ReportConfig(ProjectVerbConfig):
    """`fran report`."""

    run: str | None = None
    compare: list[str] | None = None
    output: str | None = None
    sheet_cases: int = 40
    level: float = 0.95
    samples: int = 10_000
    seed: int = 0
    json: bool = False


@dataclass
class ExportConfig(ProjectVerbConfig):
    """`fran export`."""

    run: Any = MISSING
    output: str = MISSING
    tracking_uri: str | None = None
    checkpoint: str = "best"
    postprocess: Any = True  # or false, or a file
    formats: list[str] = field(default_factory=lambda: ["torchscript"])
    json: bool = False


@dataclass
class HpcConfig(ProjectVerbConfig):
    """`fran hpc ls` and `fran hpc pull`."""

    runs: list[str] = field(default_factory=list)
    checkpoint: str = "best"
    json: bool = False
