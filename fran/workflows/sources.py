"""The datasources that a command line names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import ConfigError
from fran.workflows.schema import DatasourceConfig, SourcesConfig, label_names

if TYPE_CHECKING:
    from fran.datasources.datasource import Datasource

log = logging.getLogger("fran.sources")
_OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@/]*=")
_WITH_VALUE = (
    *("-t", "--title", "-m", "--mnemonic", "-n", "--num-processes"),
    *("--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--package", "-p"),
)


def entries_of(config: SourcesConfig) -> dict[str, DatasourceConfig]:
    """Datasources of the group, and those given as folders, by name."""
    from fran.datasources.layouts import default_name, recognise

    entries = dict(config.datasource)
    if config.alias is not None and len(config.folders) != 1:
        raise ConfigError(
            f"alias: expected one folder beside it, found {len(config.folders)}; add them one after the other, or "
            "state it in conf/datasource/<name>.yaml"
        )
    for item in config.folders:
        folder = Path(item).expanduser().resolve()
        name = folder.name if recognise(folder, config.channel, config.derivative) is None else default_name(folder)
        if name in entries:
            raise ConfigError(
                f"datasource: two are called '{name}': {entries[name].folder} and {folder}; "
                "rename one folder, or give it a name of its own in conf/datasource"
            )
        entries[name] = DatasourceConfig(
            str(folder),
            config.alias,
            labels=label_names(config.labels),
            modality=config.modality,
            test=config.test,
            patient_pattern=config.patient_pattern,
            annotated=config.annotated,
            ds_type=config.ds_type,
            channel=config.channel,
            derivative=config.derivative,
        )
    return entries


def datasources_of(entries: Mapping[str, DatasourceConfig]) -> list[Datasource]:
    """The same as datasources.

    Raises:
        ConfigError: one cannot be used.
    """
    from fran.datasources.datasource import Datasource

    found = [Datasource(**{**vars(e), "name": name, "folder": Path(e.folder)}) for name, e in entries.items()]
    for source in found:
        if source.layout is not None:
            log.info("%s: %s, read in place: %s", source.name, source.layout.kind, source.layout.naming)
    return found


def is_setting(argument: str) -> bool:
    """Whether an argument of a command line is ``key=value`` or a flag, and no folder.

    Example:
        >>> [is_setting(a) for a in ("strict=true", "--cfg", "/data/kits=old", "kits")]
        [True, True, False, False]
    """
    return argument.startswith("-") or _OVERRIDE.match(argument) is not None


def free_words(arguments: Sequence[str]) -> list[str]:
    """Arguments of a command line that are no setting, no flag and no flag's value: folders.

    Example:
        >>> free_words(["-t", "lits", "raw/lits", "strict=true", "--cfg", "job"])
        ['raw/lits']
    """
    pairs = zip(["", *arguments], arguments, strict=False)
    return [a for before, a in pairs if before not in _WITH_VALUE and not is_setting(a)]


def quoted_folders(folders: Sequence[str]) -> list[str]:
    """The Hydra override that sets `folders`; none without any."""
    quoted = [item.replace("\\", "\\\\").replace("'", "\\'") for item in folders]
    listed = ",".join(f"'{item}'" for item in quoted)
    return [f"folders=[{listed}]"] if folders else []
