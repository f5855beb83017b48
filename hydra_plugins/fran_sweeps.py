"""Hydra's door to fran's sweeps: it holds what Hydra hands over, and loads the rest when a sweep begins."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _Held(Sweeper):
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config


class GridSweeper(_Held):
    """Every combination of values; see `fran.workflows.sweep_grid.grid`.

    Args:
        metric, mode: what trials are compared by.
        params: further values by key, as ``hydra.sweeper.params`` of Hydra's own sweeper.
    """

    def __init__(self, metric: str, mode: str, params: dict[str, str] | None = None) -> None:
        self.metric, self.mode, self.params = metric, mode, dict(params or {})

    def sweep(self, arguments: list[str]) -> Any:
        """Train what is not trained yet."""
        from fran.workflows.sweep_grid import grid

        given = [f"{key}={value}" for key, value in self.params.items()]
        grid([*given, *arguments], self.hydra_context, self.task_function, self.config, self.metric, self.mode)


class RayTuneSweeper(_Held):
    """Trials drawn from a space; see `fran.workflows.sweep_search.search`.

    Args:
        settings: of `fran.tuning.settings.SearchSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def sweep(self, arguments: list[str]) -> Any:
        """Draw and train."""
        from fran.workflows.sweep_search import search, settings_of

        search(arguments, self.hydra_context, self.task_function, self.config, settings_of(self.settings))
