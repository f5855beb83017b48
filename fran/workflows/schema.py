"""Typed schema behind the configuration files: an unknown key or a wrong type fails when the configuration is composed.

The dataclasses are plain, so a verb's code gets typed objects (`fran.workflows.entry`) and never a DictConfig.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fran.augmentation.settings import AugmentationSettings
from fran.errors import ConfigError
from fran.plans.schema import Plan
from fran.tracking.settings import TrackingSettings
from fran.training.settings import TrainerSettings

MISSING: Any = "???"
"""What OmegaConf takes for a value that has to be given. Spelt out, so that help and completion need no OmegaConf."""


@dataclass
class PathsConfig:
    """Root folders; see conf/paths/default.yaml."""

    projects: str = MISSING
    cold: str = MISSING
    rapid: str = MISSING
    checkpoints: str = MISSING


@dataclass
class ProjectConfig:
    """Which project a command works on; one file a project in conf/project."""

    title: str = MISSING
    mnemonic: str | None = None


@dataclass
class DatasourceConfig:
    """A folder of raw data with ``images/`` and ``lms/``; one file a datasource in conf/datasource."""

    folder: str = MISSING
    alias: str | None = None
    labels: dict[int, str] | None = None
    modality: str | None = None
    test: bool = False
    patient_pattern: str | None = None
    annotated: list[Any] | None = None
    ds_type: str = "full"
    channel: Any = None  # whole number or name
    derivative: str | None = None


@dataclass
class PreprocessConfig:
    """How preprocessing runs, never what it produces; see `fran.parallel.backends.backend`."""

    num_processes: int = 2
    backend: str = "local"
    ray_address: str = "auto"


@dataclass
class SourcesConfig:
    """Datasources by name from their group, or by folder with the settings beside them; and how they are read."""

    datasource: dict[str, DatasourceConfig] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    labels: Any = None  # a command line cannot put whole-number keys into a typed dict; see label_names
    modality: str | None = None
    test: bool = False
    patient_pattern: str | None = None
    annotated: list[Any] | None = None
    ds_type: str = "full"
    channel: Any = None
    derivative: str | None = None
    num_processes: int = 2
    backend: str = "local"
    ray_address: str = "auto"
    strict: bool = False


@dataclass
class InitConfig(SourcesConfig):
    """`fran init`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    lm_groups: list[list[str]] | None = None


@dataclass
class ImportNnunetConfig(InitConfig):
    """`fran import-nnunet`."""

    splits: str | None = None


@dataclass
class CheckConfig(SourcesConfig):
    """`fran check`: folders, or what was found when a project's data were added."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig | None = None
    json: bool = False


@dataclass
class FixConfig:
    """`fran fix <verb>`; remapping and in_place are for relabel alone."""

    folder: str = MISSING
    out: str | None = None
    alias: str | None = None
    ds_type: str = "full"
    channel: Any = None
    derivative: str | None = None
    remapping: Any = None  # a command line cannot put whole-number keys into a typed dict
    in_place: bool = False


@dataclass
class PreprocessVerbConfig(Plan):
    """`fran preprocess`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    dry_run: bool = False


@dataclass
class PlansConfig(Plan):
    """`fran plan list`, `show`, `diff` and `explain`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    against: str | None = None
    json: bool = False


@dataclass
class TrainConfig(Plan):
    """`fran train`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    dry_run: bool = False
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
class ModelsConfig(TrainConfig):
    """`fran model ls` and `show`: the settings of a training, whose networks are looked at."""

    json: bool = False


@dataclass
class CvConfig(TrainConfig):
    """`fran cv`."""

    folds: Any = None


@dataclass
class CropsConfig(TrainConfig):
    """`fran crops`."""

    count: int = 24
    operations: bool = False
    output: str | None = None


@dataclass
class LabelsShowConfig(Plan):
    """`fran labels show`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    json: bool = False


@dataclass
class LabelsTslConfig:
    """`fran labels tsl`."""

    find: str | None = None
    json: bool = False


@dataclass
class ProjectVerbConfig:
    """What the verbs about a project have in common."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)


@dataclass
class ProjectStatusConfig(ProjectVerbConfig):
    """`fran project status`."""

    json: bool = False


@dataclass
class ProjectPropertiesConfig(ProjectVerbConfig):
    """`fran project properties`."""

    patch_voxels: int | None = None
    json: bool = False


@dataclass
class ProjectFoldsConfig(ProjectVerbConfig):
    """`fran project folds`."""

    n_folds: int | None = None
    seed: int | None = None
    reassign: bool = False
    from_file: str | None = None
    to_file: str | None = None
    json: bool = False


@dataclass
class ProjectDropConfig(ProjectVerbConfig):
    """`fran project drop`."""

    name: str = MISSING


@dataclass
class ProjectGroupsConfig(ProjectVerbConfig):
    """`fran project groups`."""

    lm_groups: list[list[str]] | None = None
    one_group: bool = False
    json: bool = False


@dataclass
class CacheConfig(ProjectVerbConfig):
    """`fran cache ls`, `fran cache verify`."""

    json: bool = False


@dataclass
class CacheGcConfig(ProjectVerbConfig):
    """`fran cache gc`."""

    keep: str = "all"
    delete: bool = False
    json: bool = False


@dataclass
class SheetConfig(ProjectVerbConfig):
    """`fran project sheet`."""

    datasource: str | None = None
    output: str | None = None
    columns: int = 4


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


@dataclass
class ExportConfig(ProjectVerbConfig):
    """`fran export`."""

    run: Any = MISSING
    output: str = MISSING
    tracking_uri: str | None = None
    checkpoint: str = "best"
    postprocess: Any = True  # or false, or a file
    formats: list[str] = field(default_factory=lambda: ["torchscript"])


@dataclass
class ExportNnunetConfig(ProjectVerbConfig):
    """`fran export-nnunet`."""

    output: str = MISSING
    datasources: list[str] | None = None
    num_processes: int = 2


@dataclass
class HpcConfig(ProjectVerbConfig):
    """`fran hpc ls` and `fran hpc pull`."""

    runs: list[str] = field(default_factory=list)
    checkpoint: str = "best"
    json: bool = False


@dataclass
class MlflowMergeConfig(ProjectVerbConfig):
    """`fran mlflow merge`."""

    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    folder: str | None = None


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
class InferConfig:
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
    mirror: Any = field(default_factory=list)
    device: str = "auto"
    precision: str = "auto"
    overlap: float = 0.5
    tile_batch: int = 2
    ram: str | None = None
    vram: str | None = None
    scratch: str | None = None
    backend: str = "local"
    ray_address: str = "auto"
    actors: int | None = None
    actor_cpus: int | None = None
    actor_gpus: float | None = None


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
class PostprocessConfig(ProjectVerbConfig):
    """`fran postprocess`."""

    input: str = MISSING
    output: str = MISSING
    rules: str | None = None
    overwrite: bool = False
    num_processes: int = 1


@dataclass
class PostprocessSearchConfig(ProjectVerbConfig):
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
    mirror: Any = field(default_factory=list)
    device: str = "auto"
    precision: str = "auto"
    overlap: float = 0.5
    tile_batch: int = 2
    ram: str | None = None
    vram: str | None = None


@dataclass
class ScoreConfig:
    """`fran score`."""

    pred: str = MISSING
    gt: str | None = None
    against: str | None = None
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
class UiConfig:
    """`fran ui`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    port: int = 5000
    host: str = "127.0.0.1"


@dataclass
class DoctorConfig:
    """`fran doctor`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    json: bool = False


@dataclass
class DemoConfig:
    """`fran demo`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
    cases: int = 10
    new_cases: int = 2
    seed: int = 0


def label_names(labels: Any) -> dict[int, str] | None:
    """Label names as given by ``labels={1: kidney, 2: tumour}``; None where there are none.

    Raises:
        ConfigError: something else than a mapping from whole numbers to names.
    """
    if labels is None:
        return None
    try:
        return {int(value): str(name) for value, name in labels.items()}
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"labels: expected names by value such as {{1: kidney}}, found {labels}") from error


SCHEMAS: dict[str, type] = {
    "init_schema": InitConfig,
    "check_schema": CheckConfig,
    "fix_schema": FixConfig,
    "preprocess_schema": PreprocessVerbConfig,
    "plans_schema": PlansConfig,
    "train_schema": TrainConfig,
    "models_schema": ModelsConfig,
    "cv_schema": CvConfig,
    "cv_show_schema": CvShowConfig,
    "sweep_show_schema": SweepShowConfig,
    "mlflow_merge_schema": MlflowMergeConfig,
    "crops_schema": CropsConfig,
    "labels_show_schema": LabelsShowConfig,
    "labels_tsl_schema": LabelsTslConfig,
    "project_status_schema": ProjectStatusConfig,
    "project_properties_schema": ProjectPropertiesConfig,
    "project_folds_schema": ProjectFoldsConfig,
    "project_drop_schema": ProjectDropConfig,
    "project_groups_schema": ProjectGroupsConfig,
    "cache_ls_schema": CacheConfig,
    "cache_verify_schema": CacheConfig,
    "cache_gc_schema": CacheGcConfig,
    "project_sheet_schema": SheetConfig,
    "report_schema": ReportConfig,
    "export_schema": ExportConfig,
    "hpc_schema": HpcConfig,
    "infer_schema": InferConfig,
    "postprocess_schema": PostprocessConfig,
    "postprocess_search_schema": PostprocessSearchConfig,
    "score_schema": ScoreConfig,
    "ui_schema": UiConfig,
    "import_nnunet_schema": ImportNnunetConfig,
    "export_nnunet_schema": ExportNnunetConfig,
    "demo_schema": DemoConfig,
    "doctor_schema": DoctorConfig,
}
"""The schema that the primary configuration names first in its defaults."""


@cache
def register() -> None:
    """Make the schema, the resolvers and the meaning of plans known to Hydra; calling it again changes nothing."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from fran.workflows.composition import install
    from fran.workflows.locations import folder_for

    install()
    store = ConfigStore.instance()
    for name, node in SCHEMAS.items():
        store.store(name=name, node=node)
    OmegaConf.register_new_resolver("fran_folder", folder_for, replace=True)
