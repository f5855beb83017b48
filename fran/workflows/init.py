"""`fran init`: from folders of raw data to a project, and its entry in the configuration."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fran.errors import ConfigError, DataError, FranError
from fran.io.files import atomic_path
from fran.io.places import home
from fran.workflows.entry import Job, run_verb
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.schema import DatasourceConfig, InitConfig, ProjectConfig
from fran.workflows.sources import datasources_of, entries_of, is_setting, quoted_folders

if TYPE_CHECKING:
    from fran.projects.project import Project

log = logging.getLogger("fran.init")


def init(job: Job[InitConfig]) -> None:
    """See `add`."""
    add(job.config)


def add(config: InitConfig, splits: Path | None = None) -> None:
    """Check and add the datasources, assign folds, compute properties; bad cases are listed and left out.

    Args:
        config: of the verb.
        splits: a splits_final.json with the folds to take.
    """
    from fran.datasources.verdicts import Quality, as_text
    from fran.parallel.backends import backend
    from fran.projects.project import Project
    from fran.workflows.project_folds import take_folds
    from fran.workflows.projects import folders_of
    from fran.workflows.terminal import show_quality

    entries = entries_of(config)
    if not entries:
        raise ConfigError("datasource: expected a folder or a name; fran init -t <title> -i <folder> [<folder> ...]")
    sources = datasources_of(entries)
    project = Project(config.project.title, folders_of(config.paths, config.project))
    project.create(config.project.mnemonic)
    execute = backend(config.backend, config.ray_address)
    report = project.add_data(
        sources, num_workers=config.num_processes, progress=True, execute=execute, strict=config.strict
    )
    quality = Quality.of(report.scans)
    quality.add(report.problems)
    show_quality(quality, f"project {config.project.title}")
    log.debug("%s", as_text(quality, "verdicts"))
    register_files(config.project, entries)
    if config.lm_groups is not None:
        project.set_lm_groups(config.lm_groups)
    if splits is not None:
        take_folds(project, splits)
    if project.training_cases():
        project.maybe_store_projectwide_properties()
        _say(project)
    if report.errors:
        stored = len(report.added) + len(report.updated) + len(report.unchanged)
        raise DataError(f"{len(report.errors)} errors, as said above; {stored} good cases are stored")
    log.info(
        "next: fran preprocess project=%s plan=plan1   (and, if you like, what is recommended)", config.project.title
    )


def register_files(project: ProjectConfig, entries: Mapping[str, DatasourceConfig]) -> None:
    """Files by which later commands know the project and its datasources; those that exist are left alone."""
    conf = home() / "conf"
    _write_new(conf / "project" / f"{project.title}.yaml", {k: v for k, v in vars(project).items() if v})
    for name, entry in entries.items():
        stated = {k: v for k, v in asdict(entry).items() if v is not None}
        stated["folder"] = str(Path(entry.folder).expanduser().resolve())
        _write_new(conf / "datasource" / f"{name}.yaml", {name: stated})


def _write_new(path: Path, content: dict[str, object]) -> None:
    relative = path.relative_to(path.parents[1])
    if any((folder / relative).is_file() for folder in (*user_conf_dirs(), conf_dir())):
        return
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _say(project: Project) -> None:
    """The essentials; `fran project status` and `fran project properties` tell the rest."""
    from fran.projects.status import project_status

    found, properties = project_status(project), project.properties
    tests, title = found["n_test"], project.project_title
    log.info("project %s: %d cases (%d kept for testing), %s", title, len(project), tests, project.folders.project)
    sizes = [sum(counts.values()) for _, counts in sorted(found["folds"]["cases"].items())]
    log.info("folds of %s cases", ", ".join(map(str, sizes)))
    labels = (f"{row['value']} {row['name']} ({row['n_cases']} cases)" for row in found["labels"])
    log.info("labels: %s", ", ".join(labels))
    overrides = " ".join(f"'{text}'" if "[" in text else text for text in properties["recommendation"]["overrides"])
    log.info("recommended: %s   (why: fran project properties project=%s)", overrides, title)


def translate(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides for a command line in which ``-t``, ``-i``, ``-m`` and ``-n`` may stand beside overrides.

    Folders may be given to ``-i`` or in ``datasource=[...]``; a project without a file of its own is a new one.

    Example:
        >>> translate(["-t", "lits", "strict=true"])
        ['project=_new', 'project.title=lits', 'strict=true']
    """
    parser = argparse.ArgumentParser(prog="fran init", add_help=False)
    parser.add_argument("-t", "--title")
    parser.add_argument("-i", "--input", nargs="+", default=[])
    parser.add_argument("-m", "--mnemonic")
    parser.add_argument("-n", "--num-processes", type=int)
    known, rest = parser.parse_known_args(list(arguments))
    folders = [item for item in known.input if not is_setting(item)]
    rest = [item for item in known.input if item not in folders] + rest
    overrides: list[str] = []
    for item in rest:
        key, _, value = item.partition("=")
        if key == "project":
            known.title = value
        elif key == "datasource" and "/" in value:
            folders += _listed(value)
        else:
            overrides.append(item)
    if folders and known.title is None and not any(o.startswith("project.title=") for o in overrides):
        raise ConfigError("title: expected the project that the folders go to, found none; add -t <title>")
    return [*_project(known.title), *quoted_folders(folders), *_optional(known), *overrides]


def _project(title: str | None) -> list[str]:
    if title is None:
        return []
    if any((folder / "project" / f"{title}.yaml").is_file() for folder in (*user_conf_dirs(), conf_dir())):
        return [f"project={title}"]
    return ["project=_new", f"project.title={title}"]


def _listed(value: str) -> list[str]:
    """Items of ``[a, 'b, c']`` or ``a``, without their quotes."""
    inside = value.strip().removeprefix("[").removesuffix("]")
    items = [item.strip() for item in re.findall(r"""\s*'[^']*'|\s*"[^"]*"|[^,]+""", inside)]
    return [item[1:-1] if item[0] in "'\"" and item[0] == item[-1] else item for item in items if item]


def _optional(known: argparse.Namespace) -> list[str]:
    mnemonic = [f"project.mnemonic={known.mnemonic}"] if known.mnemonic else []
    return [*mnemonic, *([f"num_processes={known.num_processes}"] if known.num_processes else [])]


def main() -> None:
    """Entry of `fran init` and scripts/project_init.py."""
    try:
        sys.argv[1:] = translate(sys.argv[1:])
    except FranError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    run_verb("init", InitConfig, init)
