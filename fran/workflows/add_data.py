"""`fran add-data`: more folders of raw data for a project that exists."""

from __future__ import annotations

from collections.abc import Sequence

from fran.errors import ConfigError, choices
from fran.workflows import init
from fran.workflows.entry import Job, put_in_words, run_verb
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.schema import InitConfig
from fran.workflows.sources import free_words


def add_data(job: Job[InitConfig]) -> None:
    """`fran init` for a project that exists: new cases get folds, those that were there keep theirs.

    Raises:
        StoreError: the project has not been made yet.
    """
    from fran.workflows.projects import existing_project

    existing_project(job.config.paths, job.config.project)
    init.add(job)


def translate(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides for a command line with folders in it.

    Example:
        >>> translate(["project=demo", "/data/more", "test=true"])
        ['project=demo', "folders=['/data/more']", 'test=true']

    Raises:
        ConfigError: no project, one that nobody has made, or no data.
    """
    if not any(a.startswith(("-t", "--title", "project=", "project.title=")) for a in arguments):
        raise ConfigError("project: expected one that exists, found none; fran add-data project=<title> <folder>")
    words = free_words(arguments)
    rest = [a for a in arguments if a not in (*words, "-i", "--input")]
    overrides = init.translate([*rest, *(["-i", *words] if words else [])])
    title = next((o.partition("=")[2] for o in reversed(overrides) if o.startswith(("project=", "project.title="))), "")
    if "project=_new" in overrides:
        places = [folder / "project" for folder in (*user_conf_dirs(), conf_dir())]
        known = sorted({file.stem for place in places for file in place.glob("[!_]*.yaml")})
        new = f"fran init -t {title} -i <folder>"
        raise ConfigError(f"project: there is no '{title}'; {choices(title, known)}; a new one: {new}")
    if not any(o.startswith(("folders=", "datasource=")) for o in overrides):
        raise ConfigError(f"folder: expected one or more to add, found none; fran add-data project={title} <folder>")
    return overrides


def main() -> None:
    """Entry of `fran add-data`."""
    put_in_words(translate)
    run_verb("init", InitConfig, add_data)
