"""The end of a run brought to MLflow: when training ends, or later where the store was away then."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import StoreError
from fran.io.files import read_json
from fran.tracking.cv_groups import groups_in
from fran.tracking.finish import finish_run
from fran.tracking.guard import trouble
from fran.tracking.merge import MergeReport
from fran.tracking.mlflow_logger import RUN_FILE, client_of, reason, without_secret
from fran.tracking.parents import gather
from fran.tracking.registry import model_name, register
from fran.tracking.runs import RunRecord, in_training, read_record
from fran.tracking.unsent import UNSENT, Unsent

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)


def bring_end(client: MlflowClient, run_id: str, record: RunRecord, *, checkpoint: bool, registered: bool) -> None:
    """Everything that the store may lack of a run that ended; asked again, it brings what is missing.

    Args:
        client: of the store that has the run.
        run_id: of the run.
        record: as of the end; its result is empty where training failed.
        checkpoint: whether the best one is stored.
        registered: whether it becomes a version of the registered model.

    Raises:
        MlflowException, OSError, StoreError: not everything could be brought.
    """
    unsent = Unsent(record.folder)
    unsent.send(client, run_id)
    finish_run(client, run_id, record.folder, record.result, checkpoint=checkpoint and bool(record.result))
    if registered and record.result:
        name, dice = model_name(record.project, record.plan, record.model), record.result["best_dice"]
        version = register(client, run_id, name, record.fold, math.nan if dice is None else float(dice))
        log.info("registered as version %s of %s", version, name)
    unsent.clear()


def unfinished(folder: Path | str) -> list[Path]:
    """Run folders in and below a folder whose stores lack something, without those in training, which send it."""
    return sorted(path.parent for path in Path(folder).rglob(UNSENT) if not in_training(path.parent))


def bring_all(run_folders: list[Path], cv_folder: Path) -> MergeReport:
    """Bring to each run's store what that lacks; what became of them.

    Args:
        run_folders: see `unfinished`.
        cv_folder: of the project's cross-validations, below whose parents folds are put.
    """
    report = MergeReport()
    for folder in run_folders:
        try:
            _bring(folder, cv_folder, report)
        except StoreError as error:
            report.problems.append(f"{folder.name}: {error}")
    return report


def _bring(folder: Path, cv_folder: Path, report: MergeReport) -> None:
    record, told = read_record(folder), read_json(folder / RUN_FILE)
    uri, run_id = str(told["uri"]), str(told["run_id"])
    try:
        client = client_of(uri)
        run = client.get_run(run_id)
        if run.info.lifecycle_stage == "deleted":
            report.deleted.append(folder.name)
            return
        settings = {name: run.data.params.get(f"tracking.{name}") for name in ("log_checkpoint", "register")}
        whole = {"checkpoint": settings["log_checkpoint"] != "false", "registered": settings["register"] == "true"}
        bring_end(client, run_id, record, **whole)
        for group in groups_in(cv_folder):
            if group.holds(record):
                gather(uri, run.info.experiment_id, group)
    except trouble() as error:
        raise StoreError(f"{without_secret(uri)} did not take it: {reason(error, uri)}") from error
    report.continued.append(folder.name)
