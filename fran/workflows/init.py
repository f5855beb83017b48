"""`fran init`: from folders of raw data to a project, and its entry in the configuration."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, DataError
from fran.workflows.entry import Job, put_in_words, run_verb
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.machine_advice import has_gpu
from fran.workflows.registry import as_before, register
from fran.workflows.schema import DatasourceConfig, ImportNnunetConfig, InitConfig
from fran.workflows.sources import datasources_of, entries_of, is_setting, quoted_folders

if TYPE_CHECKING:
    from fran.datasources.verdicts import Quality
    from fran.projects.adding import AddReport
    from fran.projects.database import SourceRow
    from fran.projects.project import Project

log = logging.getLogger("fran.init")


def init(job: Job[InitConfig]) -> None:
    """See `add`."""
    add(job)


def add(job: Job[InitConfig] | Job[ImportNnunetConfig], splits: Path | None = None, reassign: bool = False) -> None:
    """Check and add the datasources, assign folds, compute properties; bad cases are listed and left out.

    A new project of which no case is good is not made.

    Args:
        job: of the verb.
        splits: a splits_final.json with the folds to take.
        reassign: cases that have a fold may move to another one.
    """
    from fran.datasources.verdicts import Quality, as_text
    from fran.parallel.backends import backend
    from fran.projects.project import Project
    from fran.workflows.project_folds import take_folds
    from fran.workflows.projects import folders_of
    from fran.workflows.terminal import say_json, show_quality

    config = job.config
    entries = entries_of(config)
    if not entries:
        raise ConfigError("datasource: expected a folder or a name; fran init -t <title> -i <folder> [<folder> ...]")
    stated = {override.lstrip("+").partition("=")[0] for override in job.overrides}
    given = {name: entry for name, entry in entries.items() if name not in config.datasource}
    entries |= as_before(given, stated)
    sources = datasources_of(entries)
    project = Project(config.project.title, folders_of(config.paths, config.project))
    found_there = None if project.exists else project.folders.contents()
    project.create(config.project.mnemonic)
    before = project.database.sources()
    execute = backend(config.backend, config.ray_address)
    report = project.add_data(
        sources, num_workers=config.num_processes, progress=True, execute=execute, strict=config.strict
    )
    quality = Quality.of(report.scans)
    quality.add(report.problems)
    if not config.json:
        show_quality(quality, f"project {config.project.title}")
    log.debug("%s", as_text(quality, "verdicts"))
    if found_there is not None and not len(project):
        project.folders.unmake(found_there)
        raise DataError(f"no good case in {_listed_folders(entries)}: project {config.project.title} was not made")
    with_cases = {case.ds for case in project.cases()}
    register(config.project, {name: entry for name, entry in entries.items() if name in with_cases})
    _say_changes(before, project.database.sources())
    counts = (len(report.added), len(report.updated), len(report.unchanged))
    log.info("cases: %d added, %d changed, %d as they were", *counts)
    if config.lm_groups is not None:
        project.set_lm_groups(config.lm_groups)
    if splits is not None:
        take_folds(project, splits, reassign)
    if project.training_cases():
        project.maybe_store_projectwide_properties(reassign=reassign and splits is None)
        _say(project)
    if config.json:
        say_json(_as_dict(project, report, quality))
    if report.errors:
        stored, n = len(report.added) + len(report.updated) + len(report.unchanged), len(report.errors)
        log.info("next: mend them and type the same command again, or go on with the good cases:")
        log.info("      fran preprocess project=%s plan=plan1", config.project.title)
        raise DataError(f"{n} error{'s' * (n > 1)}, as said above; {stored} good cases are stored")
    log.info("next: fran preprocess project=%s plan=plan1", config.project.title)
    log.info("      (and behind it, if you like, what is recommended)")


def _listed_folders(entries: Mapping[str, DatasourceConfig]) -> str:
    return ", ".join(entry.folder for entry in entries.values())


def _say_changes(before: Mapping[str, SourceRow], after: Mapping[str, SourceRow]) -> None:
    """What the project now says otherwise about datasources that it had."""
    for name, old in before.items():
        new = after[name]
        for what in ("label_names", "annotated", "modality", "test", "patient_pattern"):
            if getattr(new, what) != getattr(old, what):
                words = (what.replace("_", " "), getattr(new, what) or "none", getattr(old, what) or "none")
                log.info("%s: %s now %s, before %s", name, *words)


def _say(project: Project) -> None:
    """The essentials; `fran project status` and `fran project properties` tell the rest."""
    from fran.projects.status import project_status
    from fran.workflows.project_properties import recommendation

    found, properties = project_status(project), project.properties
    tests, title = found["n_test"], project.project_title
    log.info("project %s: %d cases (%d kept for testing), %s", title, len(project), tests, project.folders.project)
    sizes = [sum(counts.values()) for _, counts in sorted(found["folds"]["cases"].items())]
    log.info("folds of %s cases; each is held out of one training, and judges it", ", ".join(map(str, sizes)))
    labels = (f"{row['value']} {row['name']} ({row['n_cases']} cases)" for row in found["labels"])
    log.info("labels: %s", ", ".join(labels))
    recommended = recommendation(project, properties)
    overrides = " ".join(f"'{text}'" if "[" in text else text for text in recommended["overrides"])
    log.info("recommended%s: %s", "" if has_gpu() else " for a CPU (no CUDA device was found here)", overrides)
    log.info("      why: fran project properties project=%s", title)


def _as_dict(project: Project, report: AddReport, quality: Quality) -> dict[str, Any]:
    """The answer for programs."""
    from fran.datasources.verdicts import as_dict
    from fran.projects.status import project_status
    from fran.workflows.project_properties import recommendation

    found = project_status(project)
    return {
        "project": project.project_title,
        "folder": project.folders.project,
        "added": report.added,
        "changed": report.updated,
        "unchanged": report.unchanged,
        "n_cases": found["n_cases"],
        "n_test": found["n_test"],
        "folds": found["folds"],
        "labels": found["labels"],
        "recommended": recommendation(project, project.properties)["overrides"] if project.training_cases() else [],
        "verdicts": as_dict(quality),
    }


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
    put_in_words(translate)
    run_verb("init", InitConfig, init)
