"""The steps of the way from a plan to scores as Python calls.

Each composes the configuration that its command would compose, checks it as the command does, and hands it to the
command's own workflow. So a step does the same, writes the same files and refuses the same settings from either side.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fran.errors import CasesFailed, ConfigError, choices, raise_for_settings
from fran.projects.project import Project
from fran.workflows import infer as infer_verb
from fran.workflows import preprocess as preprocess_verb
from fran.workflows import score as score_verb
from fran.workflows import train as train_verb
from fran.workflows.api import Plans, configured_folders, project_overrides
from fran.workflows.composition import search_folders
from fran.workflows.entry import Check, Job, compose_job, problems
from fran.workflows.overrides import overrides_of
from fran.workflows.plan_files import plan_names
from fran.workflows.schema import InferConfig, PreprocessVerbConfig, ScoreConfig, TrainConfig

if TYPE_CHECKING:
    from fran.inference.folder import FolderReport
    from fran.preprocessing.run import Summary
    from fran.training.spec import FitResult
    from fran.workflows.score import Scores

log = logging.getLogger("fran.api")

NOT_HERE = {
    "dry_run": "for the command line alone; leave it out, or type: fran {verb} … --dry-run",
    "json": "for the command line alone; the call returns what the document would hold",
}
"""Settings of commands that have no meaning for a call."""

ConfigT = TypeVar("ConfigT")


def preprocess(
    project: Project | str, plan: str | Mapping[str, Any] | None = None, **settings: Any
) -> tuple[Summary, ...]:
    """Bring every case of a plan up to date, as ``fran preprocess``; `train` does it by itself where it is missing.

    Args:
        project: it, or its title.
        plan: name of a plan, or one as in ``ConfigMaker(P).config["plan1"]`` with values changed; plan1 where None.
        settings: further ones of ``fran preprocess``, such as ``**{"preprocess.num_processes": 4}``.

    Returns:
        one entry a stage: its folder, and how many cases were made now or were there.

    Raises:
        ConfigError: a setting that cannot work; nothing was done.
        StoreError: the project was never made.
        CasesFailed: some cases failed; the others are done.

    Example:
        ``fran.preprocess(P, "plan1", spacing=[0.8, 0.8, 1.5])``
    """
    job = _job("preprocess", PreprocessVerbConfig, [*project_choice(project), *plan_overrides(project, plan)], settings)
    return tuple(preprocess_verb.preprocess(job))


def train(
    project: Project | str,
    plan: str | Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    fold: int | str | None = None,
    **settings: Any,
) -> FitResult:
    """Train one network on one fold, as ``fran train``; what the plan's data still lack is preprocessed first.

    Args:
        project: it, or its title.
        plan: name of a plan, or one as in ``ConfigMaker(P).config["plan1"]`` with values changed; plan1 where None.
        model: name of a network, a file of conf/model; dynunet where None, or what a preset says.
        fold: number of the fold to validate with, 0 where None; ``"all"`` trains on every case and validates on none;
            the name of a datasource validates with that one.
        settings: further ones of ``fran train`` by name, those with dots as ``**{"trainer.max_epochs": 50}``; a key of
            the plan here wins over `plan`. ``resume="<run>"`` goes on with a run as it was begun.

    Returns:
        the run's folder with its checkpoints, epochs and seconds, the latest value of each metric and the Dice of each
        validated case; `infer` takes it as a run.

    Raises:
        ConfigError: a setting, or a plan for this project, that cannot work; nothing was done.
        StoreError: the project was never made, or a run that is named is not there.
        CasesFailed: some cases could not be preprocessed; the others are done.
        TrainingInterrupted: SIGTERM, SIGUSR1 or Ctrl-C; a checkpoint was written, ``resume`` goes on from it.

    Example:
        ``run = fran.train(P, "plan1", model="segresnet", preset="cpu", **{"trainer.max_time": "00:30:00"})``
    """
    stated = {key: value for key, value in (("model", model), ("fold", fold)) if value is not None}
    overrides = [*project_choice(project), *plan_overrides(project, plan), *overrides_of(stated)]
    job = _job("train", TrainConfig, overrides, settings, train_verb.check)
    result = train_verb.train(job)
    assert result is not None  # it is for --dry-run alone
    return result


def infer(
    project: Project | str | None,
    runs: FitResult | str | Path | Sequence[FitResult | str | Path],
    input: str | Path,
    output: str | Path | None = None,
    **settings: Any,
) -> FolderReport:
    """Predict label maps for new images, each on its own grid, as ``fran infer``; finished cases are skipped.

    Args:
        project: it, or its title: where runs are looked for by name, and whose mask_labels.json post-processes. None
            for models that come from elsewhere.
        runs: what `train` returned, names of runs, run folders, checkpoints or bundles; several are an ensemble.
        input: an image, a folder of images (flat, or in images/), DICOM series, or a .txt of paths.
        output: folder of the label maps; None: ``<cold>/predictions/<project>/<runs>``.
        settings: further ones of ``fran infer``, such as ``format="seg.nrrd"``, ``mirror="auto"`` or ``ram="8GB"``.

    Returns:
        the output folder, and for each case its label map, whether it was predicted now, and in how many seconds.

    Raises:
        ConfigError: a setting that cannot work, or runs that cannot be applied together.
        StoreError: a run that is not there, or a checkpoint that cannot be read.
        DataError: no images.
        CasesFailed: some cases failed; the others are done.

    Example:
        ``done = fran.infer(P, [run], "new_patients", "predictions")``
    """
    several = [runs] if isinstance(runs, str | Path) or hasattr(runs, "run_folder") else list(runs)
    names = [getattr(run, "run_folder", run) for run in several]
    stated = overrides_of({"runs": names, "input": input, **({} if output is None else {"output": output})})
    job = _job("infer", InferConfig, [*project_choice(project), *stated], settings, infer_verb.check)
    return infer_verb.infer(job)


def score(
    pred: str | Path,
    gt: str | Path | None = None,
    *,
    against: str | Path | None = None,
    labels: Mapping[int, str] | None = None,
    output: str | Path | None = None,
    **settings: Any,
) -> Scores:
    """Compare predictions with references, and with other predictions, as ``fran score``; the files are written too.

    Args:
        pred: folder of predicted label maps, or a scores.csv to compare with `against`.
        gt: folder of references: flat, or with lms/, labelsTr/ or labelsTs/ inside.
        against: other predictions of the same cases, a folder or a scores.csv.
        labels: name by value; None: the names that the predictions carry.
        output: folder of scores.csv, scores.json and scores.html; None: `pred`.
        settings: further ones of ``fran score``, such as ``metrics=["dice", "hd95"]``, ``nsd_mm=1.0`` or
            ``cases="predicted"``.

    Returns:
        a row per case and label (Dice from 0 to 1, distances in mm, volumes in mm³), the means with their intervals,
        the paired differences, and the files written. References that have no score are logged as errors and are in
        its `errors`.

    Raises:
        ConfigError: a setting that cannot work.
        DataError: a folder is missing, or there is nothing to score.
        CasesFailed: not one reference could be scored; nothing was written.

    Example:
        ``scores = fran.score("predictions", "references"); scores.summary[0].averages["dice"].mean.value``
    """
    named = {"gt": gt, "against": against, "labels": labels, "output": output}
    stated = overrides_of({"pred": pred, **{key: value for key, value in named.items() if value is not None}})
    job = _job("score", ScoreConfig, stated, settings, score_verb.check)
    found = score_verb.scores_of(job)
    found.say_files()
    try:
        found.raise_for_errors()
    except CasesFailed as error:
        log.error("%s", error)
    return found


def _job(
    verb: str,
    schema: type[ConfigT],
    overrides: Sequence[str],
    settings: Mapping[str, Any],
    check: Check[ConfigT] = lambda config: (),
) -> Job[ConfigT]:
    """The job of a command with these settings, refused as the command would refuse it."""
    for key in settings:
        if key in NOT_HERE:
            raise ConfigError(f"{key}: {NOT_HERE[key].format(verb=verb)}")
    stated = overrides_of(settings)
    given = {text.partition("=")[0] for text in stated}
    job = compose_job(verb, schema, [*(o for o in overrides if o.partition("=")[0] not in given), *stated])
    if not settings.get("resume"):  # whose own settings come below these; `train` checks what both give
        raise_for_settings([replace(p, set_in="") if job.origin(p.key).override else p for p in problems(job, check)])
    return job


def project_choice(project: Project | str | None) -> list[str]:
    """Overrides that choose a project, and its folders where the configuration would find others."""
    if project is None:
        return []
    if isinstance(project, str):
        return project_overrides(project)
    overrides = project_overrides(project.project_title)
    if project.folders != configured_folders(project.project_title):
        roots = ("projects", "cold", "rapid", "checkpoints_root")
        chosen = {f"paths.{root.removesuffix('_root')}": getattr(project.folders, root) for root in roots}
        overrides += overrides_of(chosen)
    return overrides


def plan_overrides(project: Project | str, plan: str | Mapping[str, Any] | None) -> list[str]:
    """Overrides that choose a plan, and change it to what a mapping has in another way than the plan's files."""
    if plan is None:
        return []
    if isinstance(plan, str):
        return overrides_of({"plan": plan})
    name, known = plan.get("plan_name"), plan_names(search_folders())
    if name not in known:
        raise ConfigError(
            f"plan: expected plan_name, the name of the plan file that the other values change; "
            f"{choices(str(name), known)}; or write a file conf/plan/{name or 'mine'}.yaml"
        )
    title = project if isinstance(project, str) else project.project_title
    filed = Plans(project_overrides(title))[str(name)]
    unknown = [key for key in plan if key not in filed]
    if unknown:
        raise ConfigError(f"plan: unknown key '{unknown[0]}'; {choices(unknown[0], list(filed))}")
    changed = {key: value for key, value in plan.items() if _plain(value) != _plain(filed[key])}
    return overrides_of({"plan": name, **changed})


def _plain(value: Any) -> Any:
    """Lists for tuples, so that equal values are equal."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
