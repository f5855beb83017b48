from __future__ import annotations

from pathlib import Path

import pytest

from fran.projects.folders import ProjectFolders
from fran.projects.project import Project

from .raw_cases import write_cases


@pytest.fixture
def folders(tmp_path: Path) -> ProjectFolders:
    return ProjectFolders("organs", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid")


@pytest.fixture
def project(folders: ProjectFolders) -> Project:
    made = Project("organs", folders)
    made.create(mnemonic="test")
    return made


@pytest.fixture
def kits(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "raw" / "kits", "kits", 6)


@pytest.fixture
def lits(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "raw" / "lits", "lits", 4, labels=(1, 3))
