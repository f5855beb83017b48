"""The choice of a backend by its name."""

from __future__ import annotations

from fran.errors import ConfigError, choices
from fran.parallel.jobs import Execute
from fran.parallel.local import run_jobs

BACKENDS = ("local", "ray")


def backend(name: str, ray_address: str = "auto") -> Execute:
    """The backend called `name`: ``"local"`` processes, or ``"ray"`` on the cluster at `ray_address`.

    Raises:
        ConfigError: no such backend.
    """
    if name == "local":
        return run_jobs
    if name == "ray":
        from fran.parallel.ray import RayCluster

        return RayCluster(ray_address)
    raise ConfigError(f"backend: expected one of {', '.join(BACKENDS)}, found '{name}'; {choices(name, BACKENDS)}")
