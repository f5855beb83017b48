"""Where configurations and data live."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fran.errors import ConfigError
from fran.io.places import home

_OLD_KEYS = {
    "projects": "projects_folder",
    "cold": "cold_storage_folder",
    "rapid": "rapid_access_folder",
    "checkpoints": "checkpoints_parent_folder",
}


def conf_dir() -> Path:
    """The shipped configurations: inside an installed package, or at the root of a clone."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise ConfigError(f"conf: expected {package / 'conf'} or {package.parent / 'conf'}, found neither; reinstall fran")


def user_conf_dirs() -> list[Path]:
    """A user's own configuration folders that exist, the strongest first: ``$FRAN_CONF``, then ``conf`` in `home`."""
    own = home() / "conf"
    return [*named_conf_dirs(), *([own.resolve()] if own.is_dir() else [])]


def named_conf_dirs() -> list[Path]:
    """Those of `user_conf_dirs` that ``$FRAN_CONF`` or ``--config-dir`` names."""
    named = [_groups_in(Path(name).expanduser()) for name in os.environ.get("FRAN_CONF", "").split(os.pathsep) if name]
    return [folder.resolve() for folder in named if folder.is_dir()]


def prefer_config_dir(arguments: Sequence[str]) -> None:
    """Let the folder of ``--config-dir`` win over every other, as those of ``$FRAN_CONF`` do.

    Hydra by itself appends it to its search path, so that a plan1 of one's own would lose to the shipped plan1 without
    a word.
    """
    for position, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = value or "".join(arguments[position + 1 : position + 2])
            others = os.environ.get("FRAN_CONF", "")
            folder = str(Path(folder).expanduser().absolute()) if folder else ""  # processes elsewhere get it too
            os.environ["FRAN_CONF"] = os.pathsep.join(part for part in (folder, others) if part)
            return


def _groups_in(folder: Path) -> Path:
    """A folder of configuration groups, or the ``conf`` in it: what ``fran import-excel`` wrote is named either way."""
    has_groups = any((folder / group).is_dir() for group in ("plan", "model", "trainer", "datasource", "project"))
    return folder / "conf" if not has_groups and (folder / "conf").is_dir() else folder


def folder_for(kind: str, default: str | None = None) -> str:
    """Root folder of one kind: ``projects``, ``cold``, ``rapid`` or ``checkpoints``.

    The yaml file that ``$FRAN_COMMON_PATHS`` names decides where it has the kind's old key
    (``projects_folder``, ``cold_storage_folder``, ``rapid_access_folder``, ``checkpoints_parent_folder``); else it
    is `default`, or a folder of that name in `home`.
    """
    common = os.environ.get("FRAN_COMMON_PATHS")
    stated = _common_paths(Path(common).expanduser()).get(_OLD_KEYS[kind]) if common else None
    return str(Path(stated).expanduser()) if stated else default or str(home() / kind)


def _common_paths(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"FRAN_COMMON_PATHS: expected a readable yaml file, found {path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"FRAN_COMMON_PATHS: expected keys such as {', '.join(_OLD_KEYS.values())} in {path}")
    return content
