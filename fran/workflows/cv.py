"""`fran cv`: train the folds of one plan that are not trained yet, then show them as one result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fran.errors import ConfigError, FranError, SettingProblem
from fran.evaluation.intervals import Bootstrap
from fran.projects.project import Project
from fran.tracking.cv_groups import CvGroup, chosen, group_for
from fran.tracking.runs import RunRecord, in_training, records
from fran.workflows import train
from fran.workflows.cv_show import collect
from fran.workflows.entry import Job, compose_job, run_verb
from fran.workflows.launched import run_as_one
from fran.workflows.projects import existing_project
from fran.workflows.run_tracking import cv_folder, identity_record, settings_of
from fran.workflows.schema import CvConfig, TrainConfig
from fran.workflows.sweep_grid import free_memory
from fran.workflows.terminal import say, show_table

BY_DATASOURCE = "datasources"
OWN_KEYS = ("folds", "dry_run", "json", "run", "resume", "fold")
log = logging.getLogger("fran.cv")


@dataclass(frozen=True)
class FoldPlan:
    """One fold, and what is to be done about it.

    Attributes:
        job: its training.
        record: of the training that would begin.
        run: the run that there is, if any.
        state: "finished", "in training", "interrupted" or "to train".
    """

    job: Job[TrainConfig]
    record: RunRecord
    run: RunRecord | None
    state: str


def cv(job: Job[CvConfig]) -> None:
    """Train what is missing, fold after fold, and collect.

    Raises:
        FranError: trainings of some folds failed; the others were trained.
    """
    project = existing_project(job.config.paths, job.config.project)
    folds = [_plan(job, project, fold) for fold in _folds(job.config, project)]
    if job.config.dry_run:
        _say_plan(folds)
        return
    group = group_for(cv_folder(project.folders), folds[0].record, settings_of(folds[0].job))
    log.info("%s: %s", group.name, ", ".join(f"fold {f.record.fold} {f.state}" for f in folds))
    # looked at again when its turn comes: another process may have taken the fold meanwhile
    failed = [f.record.fold for f in folds if not _train(_plan(job, project, f.record.fold), group)]
    collect(project, group, [fold.record.fold for fold in folds], Bootstrap(), job.config.json)
    if failed:
        raise FranError(
            f"{group.name}: {len(failed)} of {len(folds)} folds failed: {', '.join(map(str, failed))}; what each said"
            " stands above; the same command goes on with them"
        )


def check(config: CvConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found = [
        SettingProblem(name, getattr(config, name), f"null; fran cv trains several runs and names them itself{hint}")
        for name, hint in (("run", ""), ("resume", ""))
        if getattr(config, name)
    ]
    listed = config.folds
    if listed is not None and listed != BY_DATASOURCE and not (isinstance(listed, list) and listed):
        expected = f"null, a list of folds such as [0,1,2], or {BY_DATASOURCE}"
        found.append(SettingProblem("folds", listed, expected))
    if config.fold != 0:
        found.append(SettingProblem("fold", config.fold, f"nothing here; use folds=[{config.fold}], or fran train"))
    if config.find_batch_size:
        expected = (
            "false: all folds have one batch size, which their runs are known by; fran train find_batch_size=true"
            " says the largest, then trainer.batch_size=<that> here"
        )
        found.append(SettingProblem("find_batch_size", True, expected))
    return [*found, *train.check(config)]


def _folds(config: CvConfig, project: Project) -> list[int | str]:
    if config.folds == BY_DATASOURCE:
        return list(config.datasources or project.datasources)
    if config.folds is not None:
        return list(config.folds)
    used = [c for c in project.training_cases() if config.datasources is None or c.ds in config.datasources]
    numbers: list[int | str] = sorted({c.fold for c in used if c.fold is not None})
    if not numbers:
        raise ConfigError(f"folds: project {project.project_title} has none; fran project folds deals them")
    return numbers


def _plan(job: Job[CvConfig], project: Project, fold: int | str) -> FoldPlan:
    own = [o for o in job.overrides if o.lstrip("+~").partition("=")[0] not in OWN_KEYS]
    fold_job = compose_job("train", TrainConfig, [*own, f"fold={fold}"])
    record = identity_record(fold_job, project.project_title, project.split(fold, fold_job.config.datasources).digest)
    alike = [r for r in records(project.folders.checkpoints) if r.same_settings(record) and r.fold == fold]
    run = chosen(alike) if alike else None
    if run is None:
        return FoldPlan(fold_job, record, None, "to train")
    busy = not run.finished and in_training(run.folder)
    return FoldPlan(fold_job, record, run, "finished" if run.finished else "in training" if busy else "interrupted")


def _train(fold: FoldPlan, group: CvGroup) -> bool:
    """Train a fold unless that is done; whether nothing failed. A setting that cannot work ends it all at once."""
    run = fold.run
    if run is not None and fold.state in ("finished", "in training"):
        log.info("fold %s: %s is %s", fold.record.fold, run.name, fold.state)
        return True
    from fran.training.interrupt import TrainingInterrupted

    try:
        train.train(fold.job, run.folder if run is not None else None)
    except TrainingInterrupted:
        log.info("the same fran cv goes on with all folds")
        raise
    except ConfigError:
        raise
    except FranError as error:
        log.error("fold %s of %s failed: %s", fold.record.fold, group.name, error)
        return False
    finally:
        free_memory()
    return True


def _say_plan(folds: Sequence[FoldPlan]) -> None:
    todo = {"interrupted": "go on", "to train": "train"}
    rows = [(f.record.fold, f.state, f.run.name if f.run else "-", todo.get(f.state, "nothing")) for f in folds]
    show_table("Folds", ("fold", "state", "run", "to do"), rows)
    say("nothing was done; leave --dry-run away to do it")


def main() -> None:
    """Entry of `fran cv`."""
    run_as_one(lambda: run_verb("cv", CvConfig, cv, check))
