"""Verbs about raw data, plans and what is made of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fran.errors import ConfigError
from fran.plans.schema import Plan
from fran.workflows.schema.parts import (
    MISSING,
    DatasourceConfig,
    PathsConfig,
    PreprocessConfig,
    ProjectConfig,
    ProjectVerbConfig,
)


@dataclass
class SourcesConfig:
    """Datasources by name from their group, or by folder with the settings beside them; and how they are read."""

    datasource: dict[str, DatasourceConfig] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    alias: str | None = None
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
    json: bool = False


@dataclass
class ImportNnunetConfig(InitConfig):
    """`fran import-nnunet`."""

    splits: str | None = None
    reassign: bool = False


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
class ExportNnunetConfig(ProjectVerbConfig):
    """`fran export-nnunet`."""

    output: str = MISSING
    datasources: list[str] | None = None
    num_processes: int = 2
    json: bool = False


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
