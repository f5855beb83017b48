"""The cluster that the environment names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fran.errors import ConfigError
from fran.remote.settings import PASSWORD, HpcSettings

if TYPE_CHECKING:
    from fran.remote.cluster import Cluster

SETTINGS = "HPC_SETTINGS"
EXAMPLE = "host: login.cluster.org, username: me, hpc_storage: /scratch/me/fran"


def hpc_settings() -> HpcSettings | None:
    """Content of the file that ``$HPC_SETTINGS`` names, with the password of the environment; None where it is not set.

    Raises:
        ConfigError: the file cannot be read or cannot work. What it holds is not repeated, for it may hold a password.
    """
    named = os.environ.get(SETTINGS)
    if not named:
        return None
    path = Path(named).expanduser()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{SETTINGS}: expected a file with {EXAMPLE}; found none at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{SETTINGS}: {path} cannot be read: {type(error).__name__}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{SETTINGS}: {path}{line} is no yaml; expected {EXAMPLE}") from None
    return HpcSettings.from_mapping(content, str(path), os.environ.get(PASSWORD))


def needed_settings() -> HpcSettings:
    """As `hpc_settings`, where there must be some.

    Raises:
        ConfigError: the variable is not set; or as there.
    """
    settings = hpc_settings()
    if settings is None:
        raise ConfigError(
            f"{SETTINGS}: expected the path of a yaml file with {EXAMPLE}; it is not set: see docs/inference.md"
        )
    return settings


@contextmanager
def cluster(settings: HpcSettings) -> Iterator[Cluster]:
    """A login, made when it is first used.

    Raises:
        ConfigError: the library for it is not installed.
    """
    try:
        from fran.remote.cluster import Cluster
    except ModuleNotFoundError as error:
        raise ConfigError(f"hpc.yaml: SFTP needs {error.name}: pip install 'fran[hpc]'") from error
    with Cluster(settings) as opened:
        yield opened
