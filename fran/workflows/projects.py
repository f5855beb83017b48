"""The project that a command works on."""

from __future__ import annotations

from pathlib import Path

from fran.errors import NothingNamedSo
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.workflows.schema import PathsConfig, ProjectConfig


def folders_of(paths: PathsConfig, project: ProjectConfig) -> ProjectFolders:
    """Folders of the configured project below the configured roots."""
    roots = (Path(root) for root in (paths.projects, paths.cold, paths.rapid, paths.checkpoints))
    return ProjectFolders(project.title, *roots)


def existing_project(paths: PathsConfig, project: ProjectConfig) -> Project:
    """The configured project.

    Raises:
        NothingNamedSo: it has not been made yet.
    """
    found = Project(project.title, folders_of(paths, project))
    if found.folders.database.is_file():
        return found
    make = "fran demo" if project.title == "demo" else f"fran init -t {project.title} -i <folder of images/ and lms/>"
    raise NothingNamedSo(
        f"project: expected a project '{project.title}' in {paths.projects}, found none; make it: {make}"
    )
