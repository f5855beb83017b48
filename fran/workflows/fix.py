"""`fran fix <verb>`: repairs of a datasource, written to a new folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError
from fran.workflows.entry import Job, put_in_words, run_verb
from fran.workflows.schema import FixConfig
from fran.workflows.sources import is_setting

if TYPE_CHECKING:
    from fran.datasources.datasource import Datasource
    from fran.datasources.repair import Repair
    from fran.labels import Remapping

log = logging.getLogger("fran.fix")

VERBS = ("rename-duplicates", "harmonise", "relabel", "names")


def fix(job: Job[FixConfig], verb: str) -> None:
    """Repair, and say what was done and how to check it."""
    from fran.datasources.datasource import Datasource

    config = job.config
    if verb != "relabel" and (config.remapping is not None or config.in_place):
        raise ConfigError(f"fran fix {verb}: remapping and in_place are settings of fran fix relabel alone")
    source = Datasource(
        Path(config.folder),
        alias=config.alias,
        ds_type=config.ds_type,
        channel=config.channel,
        derivative=config.derivative,
    )
    repair = _repaired(source, verb, config)
    log.info("%s", repair)
    log.info("next: fran check %s", repair.folder)


def _repaired(source: Datasource, verb: str, config: FixConfig) -> Repair:
    if verb == "relabel":
        return source.relabel(_remapping(config.remapping, source.name), config.out, config.in_place, progress=True)
    if verb == "harmonise":
        return source.harmonise(config.out, progress=True)
    if verb == "names":
        return source.rename_files(config.out)
    return source.rename_duplicates(config.out)


def _remapping(value: Any, name: str) -> Mapping[int, int] | Remapping:
    """Any spelling that a plan may use; and values that no label map may hold, which a plan may not name."""
    from fran.labels import MAX_LABEL, parse_remapping

    example = "'remapping={3: 1, 4: 0}'"
    if value is None:
        raise ConfigError(f"remapping: expected new values by old ones, found none; add {example}")
    if isinstance(value, Mapping) and all(_is_whole(k) and _is_whole(v) for k, v in value.items()):
        plain = {int(old): int(new) for old, new in value.items()}
        if any(not 0 <= old <= MAX_LABEL for old in plain):
            return plain
    found = parse_remapping(value, [name])[name]
    if found is None:
        raise ConfigError(f"remapping: expected a value that changes, found {value}; for instance {example}")
    return found


def _is_whole(value: object) -> bool:
    return str(value).removeprefix("-").isdecimal()


def translate(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides for a command line in which the folder stands by itself, or as ``datasource=``.

    Example:
        >>> translate(["/data/kits", "out=/data/mended"])
        ["folder='/data/kits'", 'out=/data/mended']

    Raises:
        ConfigError: several folders.
    """
    named = [a.removeprefix("datasource=") for a in arguments if a.startswith("datasource=") or not is_setting(a)]
    if len(named) > 1:
        raise ConfigError(f"folder: expected one datasource, found {', '.join(named)}; repair one after the other")
    quoted = [name.replace("\\", "\\\\").replace("'", "\\'") for name in named]
    rest = [a for a in arguments if is_setting(a) and not a.startswith("datasource=")]
    return [*(f"folder='{name}'" for name in quoted), *rest]


def main() -> None:
    """Entry of `fran fix <verb>`; the verb is the last word of the program's name."""
    verb = sys.argv[0].rpartition(" ")[2]
    put_in_words(translate)
    run_verb("fix", FixConfig, lambda job: fix(job, verb))
