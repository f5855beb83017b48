"""What is known only at the end of a training: best figures, tables, curves and alarms, brought to its MLflow run."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import StoreError
from fran.io.checkpoint import BEST, LAST
from fran.io.files import read_json
from fran.tracking.guard import trouble
from fran.tracking.tags import fitted_tag

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

#: Files of a run folder that become artefacts, and the folder of artefacts that each goes to.
FILES = {
    "cases.csv": "validation",
    "metrics.csv": "curves",
    "curves.png": "curves",
    "alarms.json": None,
    "run.json": None,
}
FOLDERS = {"validation": "validation", "overlays": "overlays"}

log = logging.getLogger(__name__)


def finish_run(
    client: MlflowClient, run_id: str, run_folder: Path | str, result: Mapping[str, Any], *, checkpoint: bool = False
) -> None:
    """Log the end of a run; asked again, it brings what is missing.

    Args:
        client: of the store that has the run.
        run_id: of the run.
        run_folder: whose files are stored.
        result: see `fran.tracking.runs.RunRecord`; empty where training failed.
        checkpoint: whether the best (else last) one is stored too.

    Raises:
        MlflowException, OSError: the store is away, or takes nothing of this run.
        StoreError: it did not take some of the files; the others are there.
    """
    run_folder = Path(run_folder)
    _log_best(client, run_id, run_folder, result)
    _tag_alarms(client, run_id, run_folder / "alarms.json")
    refused = []
    for file, target in _artefacts(client, run_id, run_folder, checkpoint=checkpoint):
        try:
            client.log_artifact(run_id, str(file), target)
        except trouble() as error:
            client.get_run(run_id)  # a store that is away says so here: then it takes no other file either
            refused.append(f"{file}: {error}")
    if refused:
        raise StoreError(f"{len(refused)} files were not stored: {'; '.join(refused)}")


def _artefacts(
    client: MlflowClient, run_id: str, run_folder: Path, *, checkpoint: bool
) -> Iterator[tuple[Path, str | None]]:
    """Files of a run folder and the folder of artefacts of each; pictures that are there already are left out."""
    for name, target in FILES.items():
        if (run_folder / name).is_file():
            yield run_folder / name, target
    for name, target in FOLDERS.items():
        known = {Path(entry.path).name for entry in client.list_artifacts(run_id, target)}
        for file in sorted((run_folder / name).glob("*.*")):
            if file.is_file() and (file.name not in known or file.suffix != ".png"):
                yield file, target
    if checkpoint:
        yield from [(path, "checkpoints") for name in (BEST, LAST) if (path := run_folder / name).is_file()][:1]


def _log_best(client: MlflowClient, run_id: str, run_folder: Path, result: Mapping[str, Any]) -> None:
    """Metrics ``best/…`` and tags: a search for the best of a run must not read the last epoch's figure."""
    best = {f"best/{key}": result.get(name) for key, name in (("dice", "best_dice"), ("epoch", "best_epoch"))}
    best |= {f"best/dice_{label}": value for label, value in best_per_label(run_folder / "cases.csv").items()}
    best |= {f"run/{key}": result.get(key) for key in ("epochs", "steps", "elapsed_s")}
    step = int(result.get("steps") or 0)
    for key, value in best.items():
        if isinstance(value, int | float) and math.isfinite(value) and not (key == "best/epoch" and value < 1):
            client.log_metric(run_id, key, float(value), step=step)
    dice = result.get("best_dice")
    if isinstance(dice, float) and math.isfinite(dice):
        client.set_tag(run_id, "fran.best_dice", f"{dice:.4f}")
    if result.get("stopped_by"):
        client.set_tag(run_id, "fran.stopped_by", str(result["stopped_by"]))


def best_per_label(path: Path) -> dict[str, float]:
    """Mean Dice per label of a cases.csv, over the cases that have one; empty where there is no such file."""
    if not path.is_file():
        return {}
    values: dict[str, list[float]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row.get("dice") not in (None, "", "nan"):
                values.setdefault(str(row["label"]), []).append(float(row["dice"]))
    return {label: sum(dices) / len(dices) for label, dices in values.items()}


def _tag_alarms(client: MlflowClient, run_id: str, path: Path) -> None:
    """The tag ``fran.alarms``: which alarms a run had, so that runs with one can be searched for."""
    if not path.is_file():
        return
    try:
        names = alarm_names(read_json(path))
    except StoreError as error:
        log.warning("%s", error)
        return
    if names:
        client.set_tag(run_id, "fran.alarms", fitted_tag(names))


def alarm_names(content: Any) -> list[str]:
    """Names of the alarms in an alarms.json: a list of mappings with a name, of names, or a mapping by name.

    Example:
        >>> alarm_names([{"name": "absent class"}, {"name": "absent class"}, {"name": "data starvation"}])
        ['absent class', 'data starvation']
    """
    items = list(content) if isinstance(content, Mapping | list) else [content]
    if isinstance(content, Mapping) and isinstance(content.get("alarms"), list):
        items = content["alarms"]
    names = [
        str(item.get("name") or item.get("kind") or json.dumps(item)) if isinstance(item, Mapping) else str(item)
        for item in items
    ]
    return list(dict.fromkeys(names))
