"""What the configurations of several verbs have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
class ProjectVerbConfig:
    """What the verbs about a project have in common."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    project: ProjectConfig = field(default_factory=ProjectConfig)
