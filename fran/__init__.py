"""fran: folders of CT and MR volumes in, segmentation experiments that can be repeated out.

The way from raw volumes to scores, for scripts and notebooks, in the order of use::

    Datasource, DS      a folder of raw data; those that are registered
    Project             cases, folds, labels and properties of some datasources
    ConfigMaker         plans: what the data become, how they are trained on
    preprocess, train   a plan's data; a run, with its checkpoints
    infer, score        label maps for new images; how good they are

``make_phantoms`` makes data to try it with, ``FranError`` is what a user can mend. Names are loaded when they are first
used, so that ``import fran`` costs nothing; see docs/api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fran.datasources.datasource import Datasource
    from fran.datasources.phantom import make_phantoms
    from fran.errors import FranError
    from fran.evaluation.overlap import compute_dice_fran
    from fran.workflows.api import DS, ConfigMaker, Project
    from fran.workflows.calls import infer, preprocess, score, train

__version__ = "0.1.0"
__all__ = [
    "DS",
    "ConfigMaker",
    "Datasource",
    "FranError",
    "Project",
    "__version__",
    "compute_dice_fran",
    "infer",
    "make_phantoms",
    "preprocess",
    "score",
    "train",
]

_HOMES = {
    "DS": "fran.workflows.api",
    "ConfigMaker": "fran.workflows.api",
    "Datasource": "fran.datasources.datasource",
    "FranError": "fran.errors",
    "Project": "fran.workflows.api",
    "compute_dice_fran": "fran.evaluation.overlap",
    "infer": "fran.workflows.calls",
    "make_phantoms": "fran.datasources.phantom",
    "preprocess": "fran.workflows.calls",
    "score": "fran.workflows.calls",
    "train": "fran.workflows.calls",
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
