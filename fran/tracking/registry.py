"""Trained networks as versions of a registered model in MLflow, with an alias on the best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fran.errors import StoreError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ALIAS = "best"


def model_name(project: str, plan: str, model: str) -> str:
    """Name of the registered model that runs of a plan and a network are versions of.

    Example:
        >>> model_name("kits", "plan1", "dynunet")
        'kits-plan1-dynunet'
    """
    return f"{project}-{plan}-{model}"


def register(client: MlflowClient, run_id: str, name: str, fold: int | str, dice: float) -> str:
    """Make a run's stored checkpoint a version, and move the aliases to the highest validation Dice.

    The version's source is the run's artefact, no second copy. A run that went on after a resume replaces its former
    version. The alias ``best`` is on the highest Dice of all; ``best-f0``, … on the highest of each fold, for Dice of
    other folds is of other cases.

    Args:
        client: of the store that has the run.
        run_id: of a run whose checkpoint is stored.
        name: see `model_name`.
        fold: of the run.
        dice: its best validation Dice; NaN (as with fold=all) makes a version that never becomes best.

    Returns:
        The number of the version.

    Raises:
        StoreError: the run has no stored checkpoint.
    """
    from mlflow.exceptions import MlflowException

    stored = [file.path for file in client.list_artifacts(run_id, "checkpoints")]
    if not stored:
        raise StoreError(f"run {run_id} has no stored checkpoint to register; tracking.log_checkpoint=true stores it")
    try:
        client.create_registered_model(name, description="checkpoints of fran; see the run of each version")
    except MlflowException:
        client.get_registered_model(name)  # another run made it; anything else is raised here
    for former in _versions(client, name):
        if former.run_id == run_id:
            client.delete_model_version(name, former.version)
    source = f"{client.get_run(run_id).info.artifact_uri}/{min(stored)}"  # best.ckpt, else last.ckpt
    made = client.create_model_version(name, source, run_id, tags={"fold": str(fold), "val/dice": f"{dice:.6f}"})
    for alias, version in best_versions(_versions(client, name)).items():
        client.set_registered_model_alias(name, alias, version)
    return str(made.version)


def best_versions(versions: list[Any]) -> dict[str, str]:
    """Alias to the version with the highest Dice: over all, and of each fold; the older one where two are equal."""
    best: dict[str, tuple[float, int]] = {}
    for version in versions:
        dice, number = float(version.tags.get("val/dice", "nan")), int(version.version)
        if math.isfinite(dice):
            for alias in (ALIAS, f"{ALIAS}-f{version.tags.get('fold')}"):
                best[alias] = max(best.get(alias, (dice, -number)), (dice, -number))
    return {alias: str(-number) for alias, (_, number) in best.items()}


def _versions(client: MlflowClient, name: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
