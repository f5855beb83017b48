"""Verbs about one project."""

from __future__ import annotations

from dataclasses import dataclass, field

from fran.workflows.schema.parts import MISSING, PathsConfig, ProjectVerbConfig


@dataclass
class ProjectLsConfig:
    """`fran project ls`."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    json: bool = False


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
class SheetConfig(ProjectVerbConfig):
    """`fran project sheet`."""

    datasource: str | None = None
    output: str | None = None
    columns: int = 4
