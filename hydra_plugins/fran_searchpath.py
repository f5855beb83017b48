"""Put a user's own configuration folders before fran's on Hydra's search path.

Hydra finds this module by its place in the `hydra_plugins` namespace and calls it for every Hydra program of the
environment, so it acts for fran's configurations alone.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from fran.workflows.locations import conf_dir, user_conf_dirs


class FranSearchPath(SearchPathPlugin):
    """Folders of `FRAN_CONF`, then ``conf`` in fran's home folder: a plan of the same name there wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Insert the folders that exist."""
        main = next((entry.path for entry in search_path.get_path() if entry.provider == "main"), None) or ""
        if Path(main.removeprefix("file://")) != conf_dir():
            return
        for folder in reversed(user_conf_dirs()):
            search_path.prepend(provider="user", path=f"file://{folder}")
