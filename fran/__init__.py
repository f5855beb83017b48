"""fran: folders of CT and MR volumes in, segmentation experiments that can be repeated out.

For scripts: ``from fran import DS, ConfigMaker, Datasource, Project, compute_dice_fran``. They are loaded when they
are first used, so that ``import fran`` costs nothing; see docs/api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fran.datasources.datasource import Datasource
    from fran.evaluation.overlap import compute_dice_fran
    from fran.workflows.api import DS, ConfigMaker, Project

__version__ = "0.1.0"
__all__ = ["DS", "ConfigMaker", "Datasource", "Project", "__version__", "compute_dice_fran"]

_HOMES = {
    "DS": "fran.workflows.api",
    "ConfigMaker": "fran.workflows.api",
    "Datasource": "fran.datasources.datasource",
    "Project": "fran.workflows.api",
    "compute_dice_fran": "fran.evaluation.overlap",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fran' has no attribute '{name}'; it offers {', '.join(__all__)}")
    from importlib import import_module

    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
