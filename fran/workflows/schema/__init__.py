"""Typed schema behind the configuration files: an unknown key or a wrong type fails when the configuration is composed.

The dataclasses are plain, so a verb's code gets typed objects (`fran.workflows.entry`) and never a DictConfig. They are
in modules by subject; `SCHEMAS` names the one of each primary configuration.
"""

from __future__ import annotations

from functools import cache

from fran.workflows.schema.data import (
    CacheConfig,
    CacheGcConfig,
    CheckConfig,
    ExportNnunetConfig,
    FixConfig,
    ImportNnunetConfig,
    InitConfig,
    LabelsShowConfig,
    LabelsTslConfig,
    PlansConfig,
    PreprocessVerbConfig,
    SourcesConfig,
    label_names,
)
from fran.workflows.schema.machine import (
    DemoConfig,
    DoctorConfig,
    UiConfig,
)
from fran.workflows.schema.parts import (
    MISSING,
    DatasourceConfig,
    PathsConfig,
    PreprocessConfig,
    ProjectConfig,
    ProjectVerbConfig,
)
from fran.workflows.schema.project import (
    ProjectDropConfig,
    ProjectFoldsConfig,
    ProjectGroupsConfig,
    ProjectLsConfig,
    ProjectPropertiesConfig,
    ProjectStatusConfig,
    SheetConfig,
)
from fran.workflows.schema.results import (
    ExportConfig,
    HpcConfig,
    InferConfig,
    PostprocessConfig,
    PostprocessSearchConfig,
    PredictConfig,
    ReportConfig,
    ScoreConfig,
)
from fran.workflows.schema.training import (
    CropsConfig,
    CvConfig,
    CvShowConfig,
    MlflowMergeConfig,
    ModelsConfig,
    SweepShowConfig,
    TrainConfig,
    TrainingConfig,
)

__all__ = [
    "MISSING",
    "SCHEMAS",
    "CacheConfig",
    "CacheGcConfig",
    "CheckConfig",
    "CropsConfig",
    "CvConfig",
    "CvShowConfig",
    "DatasourceConfig",
    "DemoConfig",
    "DoctorConfig",
    "ExportConfig",
    "ExportNnunetConfig",
    "FixConfig",
    "HpcConfig",
    "ImportNnunetConfig",
    "InferConfig",
    "InitConfig",
    "LabelsShowConfig",
    "LabelsTslConfig",
    "MlflowMergeConfig",
    "ModelsConfig",
    "PathsConfig",
    "PlansConfig",
    "PostprocessConfig",
    "PostprocessSearchConfig",
    "PredictConfig",
    "PreprocessConfig",
    "PreprocessVerbConfig",
    "ProjectConfig",
    "ProjectDropConfig",
    "ProjectFoldsConfig",
    "ProjectGroupsConfig",
    "ProjectLsConfig",
    "ProjectPropertiesConfig",
    "ProjectStatusConfig",
    "ProjectVerbConfig",
    "ReportConfig",
    "ScoreConfig",
    "SheetConfig",
    "SourcesConfig",
    "SweepShowConfig",
    "TrainConfig",
    "TrainingConfig",
    "UiConfig",
    "label_names",
    "register",
]

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
    "project_ls_schema": ProjectLsConfig,
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
