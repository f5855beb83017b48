"""`fran check`: what is wrong with folders of raw data, before or without a project."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fran.errors import ConfigError, DataError
from fran.workflows.entry import Job, run_verb
from fran.workflows.schema import CheckConfig
from fran.workflows.sources import datasources_of, entries_of, free_words, quoted_folders

if TYPE_CHECKING:
    from fran.datasources.datasource import Datasource
    from fran.datasources.verdicts import Quality

log = logging.getLogger("fran.check")


def check(job: Job[CheckConfig]) -> None:
    """Show the verdicts; an error among them is the command's exit status."""
    from fran.datasources.verdicts import as_dict
    from fran.workflows.terminal import say_json, show_quality

    config = job.config
    sources = datasources_of(entries_of(config))
    if sources and config.project is None:
        quality = _scanned(config, sources)
        title = ", ".join(source.name for source in sources)
    elif config.project is not None and not sources:
        quality = _stored(config)
        title = f"project {config.project.title}"
    else:
        raise ConfigError(
            "check: expected folders or a project, found " + ("both" if sources else "neither") + "; "
            "fran check <folder> [<folder> ...], or fran check project=<title>"
        )
    if config.json:
        say_json(as_dict(quality))
    else:
        show_quality(quality, title)
    refused = quality.counts["error"]
    if quality.has_errors:
        raise DataError(f"{refused} of {len(quality.cases)} cases would be left out; mend them as said above")


def _scanned(config: CheckConfig, sources: Sequence[Datasource]) -> Quality:
    """Scan folders; what was read before and did not change is not read again."""
    from fran.datasources.verdicts import QC_FILE, Quality, write_qc
    from fran.io.places import scan_folder
    from fran.parallel.backends import backend

    execute = backend(config.backend, config.ray_address)
    reports = []
    for source in sources:
        store = scan_folder(source.folder, source.name)
        reports.append(source.scan(store, config.num_processes, progress=True, execute=execute, strict=config.strict))
        write_qc(store / QC_FILE, Quality.of(reports[-1:]))
        log.info("%s: all verdicts in %s", source.name, store / QC_FILE)
    return Quality.of(reports)


def _stored(config: CheckConfig) -> Quality:
    from fran.datasources.verdicts import QC_FILE, read_qc
    from fran.workflows.projects import existing_project

    assert config.project is not None
    return read_qc(existing_project(config.paths, config.project).folders.project / QC_FILE)


def translate(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides for a command line with folders in it.

    Example:
        >>> translate(["/data/kits", "strict=true"])
        ["folders=['/data/kits']", 'strict=true']
    """
    folders = free_words(arguments)
    return [*quoted_folders(folders), *(argument for argument in arguments if argument not in folders)]


def main() -> None:
    """Entry of `fran check`."""
    sys.argv[1:] = translate(sys.argv[1:])
    run_verb("check", CheckConfig, check)
