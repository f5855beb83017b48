"""What a training tells about itself: run.json in its folder, its MLflow run, and its cross-validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fran.io.case_table import FILE, CaseScore, write_cases
from fran.io.manifest import Manifest
from fran.tracking.cv_groups import CvGroup, group_for, groups_in
from fran.tracking.guard import warn_only
from fran.tracking.identity import identity, settings_digest
from fran.tracking.runs import RECORD, RunRecord, read_record, records, write_record
from fran.tracking.settings import TrackingSettings
from fran.tracking.tags import fitted_tag
from fran.workflows.entry import Job
from fran.workflows.schema import TrainConfig

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger

    from fran.data.datamodule import DataSpec
    from fran.projects.folders import ProjectFolders
    from fran.tracking.run_logger import RunLogger
    from fran.training.spec import FitResult, TrainSpec

log = logging.getLogger("fran.train")


def cv_folder(folders: ProjectFolders) -> Path:
    """Folder of a project's cross-validations."""
    return folders.project / "cv"


def identity_record(job: Job[TrainConfig], project: str, folds_digest: str) -> RunRecord:
    """The record of a training as far as it is known before the run has a folder."""
    return RunRecord(
        folder=Path(),
        project=project,
        plan=job.config.plan_name,
        model=job.choices["model"],
        fold=job.config.fold,
        settings_digest=settings_digest(settings_of(job)),
        folds_digest=folds_digest,
        data_digest="",
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        result={},
    )


def record_of(job: Job[TrainConfig], spec: TrainSpec) -> RunRecord:
    """The record of a training that is about to begin, or to go on: then it keeps the time of its first start."""
    record = identity_record(job, spec.project, spec.folds_digest)
    digest = Manifest.load(spec.data.manifest).digest()
    record = replace(record, folder=spec.run_folder, data_digest=digest, made_with=_made_with(spec))
    if not (spec.run_folder / RECORD).is_file():
        return record
    return replace(record, started_at=read_record(spec.run_folder).started_at)


def _made_with(spec: TrainSpec) -> dict[str, Any]:
    from fran.training.hardware import device_name, resolve_accelerator, resolve_precision

    accelerator = resolve_accelerator(spec.trainer.accelerator)
    return {
        "versions": dict(spec.versions),
        "git_commit": spec.git_commit or None,
        "device": device_name(accelerator),
        "precision": resolve_precision(spec.trainer.precision, accelerator),
    }


def settings_of(job: Job[TrainConfig]) -> dict[str, Any]:
    """What the folds of one cross-validation have in common."""
    # the chosen model's name says as much as its settings, but two names for one network are two groups of runs
    return {**identity(job.plain), "model_name": job.choices["model"]}


@dataclass(frozen=True)
class Tracking:
    """One training and whoever remembers it.

    Attributes:
        record: as of the beginning.
        settings: the identity behind the record's digest.
        tracking: the settings group.
        folders: of the project.
        logger: MLflow's, None without tracking.
        callbacks: for the trainer of the first process.
        everywhere: for that of every process.
    """

    record: RunRecord
    settings: Mapping[str, Any]
    tracking: TrackingSettings
    folders: ProjectFolders
    logger: RunLogger | None
    callbacks: tuple[Callback, ...]
    everywhere: tuple[Callback, ...]

    @property
    def loggers(self) -> list[Logger]:
        """For the trainer."""
        return [self.logger] if self.logger is not None else []

    def begin(self) -> None:
        """Write run.json, make the MLflow run, and join the other folds where there are some.

        Raises:
            StoreError: the store makes no run; later nothing that it does ends a training.
        """
        write_record(self.record)
        if self.logger is not None:
            from fran.tracking.mlflow_logger import remember_run

            remember_run(self.record.folder, self.logger.uri, self.logger.create())
        self.join()

    def join(self) -> CvGroup | None:
        """Make this run one of its cross-validation's, from the second fold on; asked again, it changes nothing."""
        if self.record.fold == "all":
            return None
        alike = [r for r in records(self.record.folder.parent) if r.same_settings(self.record)]
        known = any(group.holds(self.record) for group in groups_in(cv_folder(self.folders)))
        if not known and len({r.fold for r in alike}) < 2:
            return None
        group = group_for(cv_folder(self.folders), self.record, self.settings)
        if self.logger is not None:
            from fran.tracking.parents import gather

            uri, experiment = self.logger.uri, str(self.logger.experiment_id)
            self.logger.attempt(f"the place below {group.name}", lambda *_: gather(uri, experiment, group))
        return group

    def end(self, result: FitResult | None, *, interrupted: bool = False) -> None:
        """Write how the training ended, and bring to MLflow what is known only now.

        Args:
            result: of the training; None where it failed.
            interrupted: whether a signal ended it, which is no failure: the run can go on.
        """
        facts = _facts(result) if result is not None else {}
        if result is not None:
            write_record(self.record.ended(facts))
            _keep_cases(result)
        if self.logger is not None:
            from fran.tracking.late import bring_end

            _draw_curves(self.record.folder)
            if result is None:  # no run stays "running" whose trainer could not say how it ended
                self.logger.end("KILLED" if interrupted else "FAILED")
            ended, tracking = self.record.ended(facts), self.tracking

            def bring(client: MlflowClient, run_id: str) -> None:
                whole = {"checkpoint": tracking.log_checkpoint, "registered": tracking.register}
                bring_end(client, run_id, ended, **whole)

            self.logger.attempt("the end", bring, at_once=True)
        if result is not None:
            self.join()
        if self.logger is not None and self.logger.unsent:
            log.warning(
                "run %s is not whole in MLflow at %s; once that takes it: fran mlflow merge project=%s",
                *(self.record.name, self.logger.where, self.record.project),
            )


def _draw_curves(run_folder: Path) -> None:
    from fran.reporting.curves import curves_png
    from fran.training.callbacks import METRICS

    metrics = run_folder / METRICS
    if metrics.is_file():  # a training that failed at once has none
        with warn_only("the curves were not drawn"):
            curves_png(metrics, run_folder / "curves.png")


def _facts(result: FitResult) -> dict[str, Any]:
    names = ("best_dice", "best_epoch", "epochs", "steps", "elapsed_s", "stopped_by")
    return {name: getattr(result, name) for name in names}


def _keep_cases(result: FitResult) -> None:
    """cases.csv of the last validation, where training itself has not written that of the best."""
    path = result.run_folder / FILE
    if result.case_dice and not path.is_file():
        rows = [CaseScore(c, label, dice) for c, of_case in result.case_dice.items() for label, dice in of_case.items()]
        write_cases(path, rows)


def track(job: Job[TrainConfig], folders: ProjectFolders, spec: TrainSpec) -> Tracking:
    """Everything that will remember a training; with tracking=none run.json alone, and mlflow is not imported."""
    settings = job.config.tracking
    record = record_of(job, spec)
    if settings.backend == "none":
        return Tracking(record, settings_of(job), settings, folders, None, (), ())
    from fran.reporting.overlay import overlay_png
    from fran.tracking.mlflow_logger import make_logger
    from fran.tracking.track_run import RunFacts, TrackRun
    from fran.tracking.worst_cases import WorstCases

    logger = make_logger(
        settings,
        project=spec.project,
        run_name=record.name,
        project_folder=folders.project,
        run_folder=spec.run_folder,
        tags={f"fran.{name}": value for name, value in _tags(job, spec, record).items() if value},
    )
    facts = RunFacts(
        config=job.plain,
        config_yaml=yaml.safe_dump(job.plain, sort_keys=False),
        versions=spec.versions,
        git_commit=spec.git_commit or None,
        dataset=spec.project,
        dataset_digest=record.data_digest,
        dataset_source=str(spec.data.manifest),
        label_names=dict(enumerate(spec.data.labels.channel_names)),
        tags=_tags(job, spec, record),
    )
    callback = TrackRun(
        facts,
        spec.run_folder,
        draw=overlay_png,
        overlay_every=settings.overlay_every,
        system_every_s=settings.system_every_s,
    )
    worst = WorstCases(spec.run_folder, overlay_png, facts.label_names, settings.worst_cases)
    return Tracking(record, settings_of(job), settings, folders, logger, (callback,), (worst,))


def _tags(job: Job[TrainConfig], spec: TrainSpec, record: RunRecord) -> dict[str, str]:
    """What runs are searched for, and what tells whether two may be compared."""
    return {
        "kind": "training",
        "project": record.project,
        "plan": record.plan,
        "model": record.model,
        "fold": str(record.fold),
        "mode": spec.mode,
        "spacing": "x".join(f"{s:g}" for s in spec.spacing_mm),
        "patch": "x".join(map(str, spec.patch_size)),
        "labels": fitted_tag(spec.data.labels.channel_names[1:]),
        "preset": str(job.choices.get("preset") or ""),
        "sweep": job.config.sweep or "",
        "cases": f"{len(spec.data.train_ids)} train, {len(spec.data.val_ids)} val",
        "settings_digest": record.settings_digest,
        "folds_digest": record.folds_digest,
        "unannotated": _unannotated(spec.data),
    }


def _unannotated(data: DataSpec) -> str:
    """Datasources and the names of the labels that they do not draw, for people."""
    names = {
        ds: [data.labels.names[v] for v in values if v in data.labels.names] for ds, values in data.unannotated.items()
    }
    return fitted_tag([f"{ds}: {', '.join(missing)}" for ds, missing in names.items() if missing], "; ")
