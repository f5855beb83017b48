"""`fran train`: one network on one fold, preprocessing first what the plan still lacks."""

from __future__ import annotations

import logging
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fran.errors import ConfigError, NothingNamedSo, SettingProblem, choices, counted, raise_for_settings
from fran.io.files import atomic_path, read_json, write_json
from fran.tracking.mlflow_logger import check_store
from fran.tracking.runs import training_lock
from fran.training.launcher import place
from fran.workflows.checks import network_problems
from fran.workflows.dry_run import say_stages, say_training
from fran.workflows.entry import Job, compose_job, problems, recompose, run_verb
from fran.workflows.label_flow import say_notes
from fran.workflows.launched import hand_out, run_as_one
from fran.workflows.locations import named_conf_dirs
from fran.workflows.plan_data import PlanData, data_of, properties_of
from fran.workflows.preprocess import bring_up_to_date
from fran.workflows.projects import existing_project
from fran.workflows.run_tracking import Tracking, track
from fran.workflows.schema import TrainConfig, TrainingConfig
from fran.workflows.terminal import say_json

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

    from fran.projects.database import CaseRow
    from fran.projects.project import Project
    from fran.projects.splits import Split
    from fran.training.spec import FitResult, TrainSpec

log = logging.getLogger("fran.train")

OVERRIDES = "overrides.json"
CONF_DIRS = "config_dirs.json"
#: optimiser steps below which a training ended by its time is said to be too short
FEW_STEPS = 200


def train(
    job: Job[TrainConfig],
    run_folder: Path | None = None,
    begin: Callable[[Path], Sequence[Callback]] = lambda run_folder: (),
) -> FitResult | None:
    """Preprocess what is missing, train, log to MLflow, and say what to run next.

    Args:
        job: the training.
        run_folder: of a run to go on with, from its checkpoint or, where it was ended before the first one, from the
            beginning; None is what the settings say.
        begin: called with the run's folder before the training begins; its callbacks go along.

    Returns:
        how it ended; None where nothing was to be done.
    """
    from fran.io.checkpoint import LAST
    from fran.training.fit import check_init, check_resume

    project = existing_project(job.config.paths, job.config.project)
    if job.config.resume:
        run_folder = _run_folder(project, job.config.resume)
    if run_folder is not None:
        job = _as_before(job, run_folder)
        raise_for_settings(problems(job, check))
    config = job.config
    if config.search:
        raise ConfigError(
            f"search: expected null for a single training, found {config.search}; fran train -m hydra/sweeper=ray_tune"
            f" search={config.search} draws from it"
        )
    data = data_of(project, job)
    split = split_of(project, config)
    say_notes(data.flow)
    _check_sampling(project, config, data)
    # the network is tried before hours of preprocessing, the run folder is made after it
    trial = spec_of(job, project, data, split, Path())
    _try_network(trial)
    check_init(trial)
    check_store(config.tracking)
    if config.dry_run:
        run = run_folder or project.folders.checkpoints / (config.run or _next_name(job, project))
        would_be = spec_of(job, project, data, split, run)
        if config.resume and _is_made(would_be):
            check_resume(would_be, run)
        say_stages(job, project)
        say_training(would_be, split, run.name)
        return None
    bring_up_to_date(project, data, config.preprocess)
    if config.find_batch_size and run_folder is None:
        job = _with_found_batch_size(job, trial)
        config = job.config
    resume = run_folder if config.resume or (run_folder is not None and (run_folder / LAST).is_file()) else None
    run_folder = run_folder or _new_run_folder(job, project)
    spec = spec_of(job, project, data, split, run_folder)
    if resume is not None:
        check_resume(spec, resume)
    with training_lock(run_folder):
        log.info("run %s: %s", run_folder.name, _size(spec))
        log.info("%s", recipe(spec))
        tracking = track(job, project.folders, spec)
        _write_down(job, run_folder)
        result = _fit(spec, tracking, begin(run_folder), resume)
    _say(result, spec)
    if config.json:
        say_json(answer(result, spec.project))
    if not config.sweep:  # which says it once, of its best
        log.info("next: fran infer project=%s 'runs=[%s]' input=<folder of images>", spec.project, run_folder.name)
        log.info("      fran ui project=%s      (compare runs in MLflow)", spec.project)
    return result


def _is_made(spec: TrainSpec) -> bool:
    """Whether every case of a training is preprocessed."""
    from fran.io.manifest import MANIFEST_NAME, Manifest

    data = spec.data
    places = ((data.manifest, data.train_ids), (data.val_manifest or data.manifest, data.val_ids))
    return all(
        (folder / MANIFEST_NAME).is_file() and set(ids) <= set(Manifest.load(folder).files_by_case())
        for folder, ids in places
    )


def _fit(spec: TrainSpec, tracking: Tracking, more: Sequence[Callback], resume: Path | None) -> FitResult:
    from fran.training.fit import fit
    from fran.training.interrupt import TrainingInterrupted

    tracking.begin()
    everybody: dict[str, Any] = {"spec": spec, "everywhere": tracking.everywhere, "resume": resume}
    hand_out(everybody)
    result, interrupted = None, False
    try:
        result = fit(**everybody, loggers=tracking.loggers, callbacks=[*tracking.callbacks, *more])
    except (TrainingInterrupted, KeyboardInterrupt):
        interrupted = True
        raise
    finally:
        tracking.end(result, interrupted=interrupted)
    return result


def check(config: TrainConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found: list[SettingProblem] = []
    if config.json and config.dry_run:
        found.append(SettingProblem("json", True, "false together with --dry-run, which answers in sentences"))
    for group in ("trainer", "augmentation", "tracking"):
        found += getattr(config, group).problems()
    started = place()
    if started is not None and (expected := started.lacking(config.trainer.devices)):
        found.append(SettingProblem("trainer.devices", config.trainer.devices, expected))
    named = isinstance(config.fold, str) and config.fold
    if not named and not (isinstance(config.fold, int) and config.fold >= 0):
        expected = "the number of a fold (0 to 4), all, or the datasource to validate with and not to train on"
        found.append(SettingProblem("fold", config.fold, expected))
    if config.run and config.resume:
        found.append(SettingProblem("run", config.run, "null together with resume, which keeps the run's name"))
    if not re.fullmatch(r"[\w.-]+", config.sweep or "-"):
        found.append(SettingProblem("sweep", config.sweep, "a name of letters, digits, - and _"))
    if config.find_batch_size and config.resume:
        found.append(SettingProblem("find_batch_size", True, "false together with resume, which keeps the batch size"))
    return [*found, *network_problems(config.model, config)]


def _with_found_batch_size(job: Job[TrainConfig], spec: TrainSpec) -> Job[TrainConfig]:
    """The job with the largest batch that fits, as if the command line had stated it, so that a resume keeps it."""
    from fran.training.batch_size import find_batch_size

    found = find_batch_size(spec)
    log.info("%s", found)
    stated = (*_but_batch_size(job.overrides), f"trainer.batch_size={found.batch_size}")
    return replace(compose_job("train", TrainConfig, stated), overrides=stated)


def _but_batch_size(overrides: Sequence[str]) -> tuple[str, ...]:
    """Without what says, or asks for, a batch size."""
    apart = ("find_batch_size", "trainer.batch_size")
    return tuple(o for o in overrides if o.lstrip("+").partition("=")[0] not in apart)


def _check_sampling(project: Project, config: TrainConfig, data: PlanData) -> None:
    """Names in sampling weights that there are not, said before anything is preprocessed."""
    from fran.data.sampling import CASE_SETTING, CLASS_SETTING, DATASOURCE_SETTING, check_weights

    trainer = config.trainer
    check_weights(trainer.datasource_sampling_weights, project.datasources, DATASOURCE_SETTING)
    check_weights(trainer.case_sampling_weights, [row.case_id for row in data.rows], CASE_SETTING)
    check_weights(trainer.class_sampling_weights, data.flow.scheme.channel_names[1:], CLASS_SETTING)


def split_of(project: Project, config: TrainingConfig) -> Split:
    """Which cases train and which validate; says which are left out."""
    split = project.split(config.fold, config.datasources)
    if split.left_out:
        some = ", ".join(split.left_out[:10]) + ", …" * (len(split.left_out) > 10)
        log.warning(
            "%d cases are left out of training: their patient or image is validated or tested on too: %s",
            *(len(split.left_out), some),
        )
    return split


def spec_of(job: Job[TrainConfig], project: Project, plan_data: PlanData, split: Split, run_folder: Path) -> TrainSpec:
    """Everything that defines the training."""
    from fran.data.datamodule import DataSpec
    from fran.tracking.environment import git_commit, package_versions
    from fran.training.spec import TrainSpec

    config = job.config
    used = [row for row in plan_data.rows if row.case_id in {*split.train, *split.val}]
    everybody = config.fold == "all"
    if split.self_validated and not everybody:
        log.warning("too few cases for folds: training and validation use the same ones, so val/dice is optimistic")
    data = DataSpec(
        plan_data.folder,
        split.train,
        () if everybody else split.val,
        plan_data.flow.scheme,
        properties_of(project, plan_data.plan),
        label_maps=plan_data.flow.on_the_fly,
        self_validated=split.self_validated,
        unannotated=plan_data.flow.unannotated,
        val_manifest=plan_data.validation,
    )
    return TrainSpec(
        run_folder=run_folder,
        data=data,
        network=config.model,
        patch_size=config.patch_size,
        spacing_mm=config.spacing_mm,
        trainer=config.trainer,
        augmentation=config.augmentation,
        project=project.project_title,
        modality=_modality(used),
        mode=config.canonical_mode,
        fold=config.fold,
        samples_per_file=config.samples_per_file,
        vip_label=config.vip_label,
        label_origin=[asdict(row) for row in plan_data.flow.describe()],
        folds_digest=split.digest,
        config=job.plain,
        versions=package_versions(),
        git_commit=git_commit() or "",
        init_from=_init_from(project, config),
    )


def _try_network(spec: TrainSpec) -> None:
    """Refuse a network that cannot take the patch or that the GPU clearly cannot hold; warn where it may not."""
    from fran.networks.cost import network_cost
    from fran.training.hardware import days_on_cpu, resolve_accelerator, resolve_precision
    from fran.training.memory import check_gpu, memory_of_training
    from fran.training.parts import complete_network

    filled, settings = complete_network(spec), spec.trainer
    accelerator = resolve_accelerator(settings.accelerator)
    if days := days_on_cpu(settings, accelerator):
        log.warning("%s", days)
    if accelerator == "gpu":
        half = "16" in resolve_precision(settings.precision, accelerator)
        need = memory_of_training(network_cost(filled, spec.patch_size, spec.trusted), settings, half=half)
        warning = check_gpu(need, compiled=settings.compile)
        if warning:
            log.warning("%s", warning)


def _modality(rows: Sequence[CaseRow]) -> str:
    """The one modality of the cases; several in one training are possible and said."""
    found = sorted({row.modality for row in rows})
    if len(found) > 1:
        log.warning("the cases are of several modalities (%s); new images will be treated as %s", found, found[0])
    return found[0]


def _new_run_folder(job: Job[TrainConfig], project: Project) -> Path:
    from fran.io.checkpoint import new_run_folder

    config = job.config
    parent = project.folders.checkpoints
    if config.run is None:
        return new_run_folder(parent, config.plan_name, job.choices["model"], config.fold)
    folder = parent / config.run
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(
            f"run: expected a new name, found {folder}; go on with it by resume={config.run}, or choose another name"
        ) from error
    return folder


def _next_name(job: Job[TrainConfig], project: Project) -> str:
    from fran.io.checkpoint import next_run_name

    return next_run_name(project.folders.checkpoints, job.config.plan_name, job.choices["model"], job.config.fold)


def _run_folder(project: Project, name: str, setting: str = "resume") -> Path:
    parent = project.folders.checkpoints
    folder = parent / name
    if not folder.is_dir():
        known = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        raise NothingNamedSo(f"{setting}: no run '{name}' in {parent}; {choices(name, known)}")
    return folder


def _init_from(project: Project, config: TrainConfig) -> Path | None:
    """Run folder or checkpoint to start from; a resumed run has started and does not need it any more."""
    if config.init_from is None or config.resume:
        return None
    given = Path(config.init_from).expanduser()
    return given if given.exists() else _run_folder(project, config.init_from, "init_from")


def _as_before(job: Job[TrainConfig], run_folder: Path) -> Job[TrainConfig]:
    """The run's own configuration, with what this command line changes on top.

    Raises:
        ConfigError: a folder of configuration that the run was begun with is there and not named.
    """
    _check_conf_dirs(job, run_folder)
    before: list[str] = read_json(run_folder / OVERRIDES)
    if job.config.find_batch_size:  # a trial that goes on: the run has its batch size
        job = replace(job, overrides=_but_batch_size(job.overrides))
    changed = [o for o in job.overrides if o not in before and not o.startswith("resume=")]
    said = [o for o in changed if not o.startswith(("dry_run=", "json="))]
    if said:
        log.info("resuming %s with changed settings: %s", run_folder.name, ", ".join(said))
    return recompose(job, "train", TrainConfig, [o for o in before if not o.startswith("run=")])


def _write_down(job: Job[TrainConfig], run_folder: Path) -> None:
    """config.yaml for people, overrides.json for a resume."""
    with atomic_path(run_folder / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(job.plain, sort_keys=False), encoding="utf-8")
    write_json(run_folder / OVERRIDES, [o for o in job.overrides if not o.startswith(("resume=", "json="))])
    write_json(run_folder / CONF_DIRS, [str(folder) for folder in named_conf_dirs()])


def _check_conf_dirs(job: Job[TrainConfig], run_folder: Path) -> None:
    """A plan of the same name may be another one where the folder that has it is not named again."""
    stored: list[str] = read_json(run_folder / CONF_DIRS) if (run_folder / CONF_DIRS).is_file() else []
    now = {str(folder) for folder in named_conf_dirs()}
    lacking = [folder for folder in stored if folder not in now and Path(folder).is_dir()]
    if lacking:
        typed = ["fran", "train", "--config-dir", lacking[0], *job.overrides]
        raise ConfigError(
            f"--config-dir: expected {', '.join(lacking)}, with which {run_folder.name} was begun, found "
            f"{', '.join(sorted(now)) or 'none'}; {shlex.join(typed)}"
        )


def _size(spec: TrainSpec) -> str:
    """Cases and limits of a training in words."""
    from fran.training.progress import clock

    settings, data = spec.trainer, spec.data
    steps = f"{counted(settings.max_epochs, 'epoch')} of {counted(settings.steps_per_epoch, 'step')}"
    most = settings.max_time_s
    limit = f", at most {clock(most)} with all validations" if most is not None else ""
    return f"{len(data.train_ids)} cases to train, {len(data.val_ids)} to validate; {steps}{limit}"


def recipe(spec: TrainSpec) -> str:
    """What decides most how a training goes, on one line."""
    trainer = spec.trainer
    batch = f"{trainer.batch_size}" + (f" (times {trainer.accumulate} a step)" if trainer.accumulate > 1 else "")
    patch = " x ".join(map(str, spec.patch_size))
    return f"{trainer.optimiser.describe()}; loss {trainer.loss.describe()}; batch {batch}, patch {patch}"


def answer(result: FitResult, project: str) -> dict[str, Any]:
    """How a training ended, for programs; docs/cli.md has the fields."""
    validated = result.best is not None
    return {
        "project": project,
        "run": result.run_folder.name,
        "folder": result.run_folder,
        "checkpoint": result.best or result.last,
        "best_dice": result.best_dice,
        "best_epoch": result.best_epoch if validated else None,
        "epochs": result.epochs,
        "steps": result.steps,
        "seconds": result.elapsed_s,
        "status": result.stopped_by,
    }


def _say(result: FitResult, spec: TrainSpec) -> None:
    validated = len(result.case_dice)
    dices = ", ".join(_dice_of(name, result.metrics, validated) for name in spec.label_names)
    took = f"{counted(result.epochs, 'epoch')} in {result.elapsed_s:.0f} s"
    log.info("run %s: %s, ended by %s", result.run_folder.name, took, result.stopped_by)
    if result.stopped_by == "max_time" and result.steps < FEW_STEPS:
        log.warning(
            "only %s in the time: a network has learnt little by then; hundreds to thousands are usual. To go on, with"
            " the whole time instead of %s: fran train project=%s resume=%s trainer.max_time=<more>",
            *(counted(result.steps, "step"), spec.trainer.max_time, spec.project, result.run_folder.name),
        )
    if validated:
        log.info("Dice of the cases held out (overlap, 0 to 1): %.3f at best; at the end %s", result.best_dice, dices)


def _dice_of(name: str, metrics: Mapping[str, float], validated: int) -> str:
    """Dice of a label, and on how many cases it stands where that is not all of those validated."""
    dice, n = metrics.get(f"val/dice_{name}", math.nan), int(metrics.get(f"val/n_{name}", 0))
    few = f" ({n} of {validated} cases)" if n < validated else ""
    return f"{name} {'-' if math.isnan(dice) else f'{dice:.3f}'}{few}"


def _goes_on(config: TrainConfig) -> bool:
    return bool(config.resume)


def main() -> None:
    """Entry of `fran train` and scripts/train.py."""
    from fran.workflows.trial import train_or_trial

    run_as_one(lambda: run_verb("train", TrainConfig, train_or_trial, check, later=_goes_on))
