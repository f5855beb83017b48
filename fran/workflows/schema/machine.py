"""Verbs to begin with, and about this machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from fran.tracking.settings import TrackingSettings
from fran.workflows.schema.parts import PathsConfig, ProjectConfig


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
