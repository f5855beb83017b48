"""`fran cv show`: the folds of a cross-validation as one table, in files, and on their parent run in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fran.errors import ConfigError, NothingNamedSo, SettingProblem, StoreError
from fran.evaluation.cross_validation import CvSummary, FoldScores, summarise_folds
from fran.evaluation.cv_report import as_dict, metrics_of, table_of, write_summary
from fran.evaluation.intervals import Bootstrap
from fran.io.case_table import FILE, read_cases
from fran.projects.project import Project
from fran.tracking.cv_groups import CvGroup, chosen, find_group, groups_in
from fran.tracking.identity import differences, identity
from fran.tracking.runs import RunRecord, in_training, read_record, records
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.run_tracking import cv_folder
from fran.workflows.schema import CvShowConfig
from fran.workflows.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("fran.cv")


def cv_show(job: Job[CvShowConfig]) -> None:
    """Show a group, or runs that were named.

    Raises:
        StoreError: no such group or run, or nothing validated.
        ConfigError: the runs cannot be pooled.
    """
    config = job.config
    project = existing_project(config.paths, config.project)
    how = Bootstrap(config.level, config.samples, config.seed)
    if config.runs:
        named = [run_of(project, name) for name in config.runs]
        check_poolable(named)
        summary = _summary(named, how)
        _print(", ".join(config.runs), summary, config.json, {})
        return
    group = group_of(project, config.group)
    collect(project, group, None, how, config.json)


def collect(
    project: Project, group: CvGroup, wanted: Sequence[int | str] | None, how: Bootstrap, as_json: bool = False
) -> CvSummary | None:
    """Pool the finished folds of a group, write and print the table, and log it to MLflow; None without any.

    Args:
        project: of the group.
        group: the cross-validation.
        wanted: folds that there should be; None is every fold of the project, or every one that has a run.
        how: intervals.
        as_json: print JSON instead of a table.
    """
    runs = records(project.folders.checkpoints)
    members = {fold: chosen(of_fold) for fold, of_fold in group.members(runs).items()}
    done = [run for run in members.values() if run.finished and (run.folder / FILE).is_file()]
    folds = wanted if wanted is not None else _expected(project, members)
    lacking = [fold for fold in folds if fold not in {run.fold for run in done}]
    missing = {fold: _why(members[fold]) if fold in members else _untrained(fold, members, runs) for fold in lacking}
    about: dict[str, Any] = {"group": group.name, "missing": {str(fold): why for fold, why in missing.items()}}
    about |= {"settings_digest": group.settings_digest, "folds_digest": group.folds_digest}
    if not done and as_json:
        say_json(about)
        return None
    if not done:
        say(f"{group.name}: no fold is finished; {_listed(missing)}")
        return None
    _warn_of_other_data(done)
    summary = _summary(done, how)
    files = write_summary(summary, group.folder, about)
    _to_mlflow(project, group, summary, files, not missing)
    _print(group.name, summary, as_json, about)
    if not as_json:
        for fold, why in missing.items():
            say(f"not in it: {_listed({fold: why})}")
        say(f"tables: {group.folder}")
        names = ",".join(run.name for run in done)
        say(f"next: fran postprocess search project={group.project} group={group.name}   (do rules for islands help?)")
        say(f"next: fran infer project={group.project} 'runs=[{names}]' input=<folder of images>   (mean of the folds)")
    return summary


def check_poolable(runs: Sequence[RunRecord]) -> None:
    """Raise `ConfigError`, with what differs, where runs are not folds of one cross-validation."""
    lines = _obstacles(runs)
    if lines:
        said = "\n  ".join(lines)
        raise ConfigError(f"runs: expected folds of one assignment of cases and of equal settings, found\n  {said}")


def _obstacles(runs: Sequence[RunRecord]) -> list[str]:
    """What keeps runs from being folds of one cross-validation, a line each."""
    first = runs[0]
    lines = []
    for run in runs[1:]:
        if run.folds_digest != first.folds_digest:
            lines.append(f"{run.name}: cases were dealt to folds in another way than for {first.name}")
        if run.settings_digest != first.settings_digest:
            differing = differences(_settings(first), _settings(run)) or [
                "the settings (config.yaml cannot tell which)"
            ]
            lines.append(f"{run.name}: other settings than {first.name}: {'; '.join(differing[:8])}")
    twice = sorted({str(r.fold) for r in runs if sum(r.fold == other.fold for other in runs) > 1})
    lines += [f"fold {fold}: more than one run" for fold in twice]
    lines += [f"{run.name}: was trained on all cases, so no case judges it" for run in runs if run.fold == "all"]
    return lines


def _settings(run: RunRecord) -> dict[str, Any]:
    try:
        config = yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return {**identity(config), "model_name": run.model}


def group_of(project: Project, name: str | None) -> CvGroup:
    """The group of a name, or the one that was trained last.

    Raises:
        StoreError: there is none.
    """
    folder = cv_folder(project.folders)
    if name is not None:
        return find_group(folder, name)
    known = groups_in(folder)
    runs = records(project.folders.checkpoints)
    if not known:
        of_folds = {run.fold: run for run in runs if run.fold != "all"}
        apart = "".join(f"\n  {line}" for line in _obstacles(list(of_folds.values()))) if of_folds else ""
        raise StoreError(
            f"group: project {project.project_title} has no cross-validation yet; train one:"
            f" fran cv project={project.project_title}"
            + (f"\n  the runs that are there cannot be put together:{apart}" if apart else "")
        )
    newest = max(known, key=lambda g: max((r.started_at for r in runs if g.holds(r)), default=""))
    others = [group.name for group in known if group is not newest]
    if others:
        log.info("%s, the newest; group=… shows another: %s", newest.name, ", ".join(others))
    return newest


def run_of(project: Project, name: str) -> RunRecord:
    """The run of a name.

    Raises:
        StoreError: there is none.
    """
    folder = project.folders.checkpoints / name
    if not folder.is_dir():
        from fran.errors import choices

        known = [record.name for record in records(project.folders.checkpoints)]
        raise NothingNamedSo(f"runs: no run '{name}' in {project.folders.checkpoints}; {choices(name, known)}")
    return read_record(folder)


def _expected(project: Project, members: Mapping[int | str, RunRecord]) -> list[int | str]:
    """Folds that a complete cross-validation has: those of the project, or the datasources left out so far."""
    if any(isinstance(fold, int) for fold in members):
        return sorted({c.fold for c in project.training_cases() if c.fold is not None})
    return list(members)


def _untrained(fold: int | str, members: Mapping[int | str, RunRecord], runs: Sequence[RunRecord]) -> str:
    """Why no member of a group is of a fold: it was trained in another way, or not at all."""
    one = next(iter(members.values()), None)
    others = [run for run in runs if one and (run.fold, run.plan, run.model) == (fold, one.plan, one.model)]
    return "; ".join(_obstacles([one, others[-1]])) if one and others else "not trained"


def _why(run: RunRecord) -> str:
    if not run.finished:
        return f"{run.name} is in training" if in_training(run.folder) else f"{run.name} was interrupted"
    return f"{run.name} was trained without validation"


def _listed(missing: Mapping[int | str, str]) -> str:
    return "; ".join(f"fold {fold}: {why}" for fold, why in missing.items())


def _warn_of_other_data(runs: Iterable[RunRecord]) -> None:
    digests = {run.data_digest: run.name for run in runs}
    if len(digests) > 1:
        log.warning(
            "preprocessed data were made anew between the folds (%s differ in their manifest): some cases may have"
            " other images or labels than when the other folds were trained",
            " and ".join(digests.values()),
        )


def _summary(runs: Sequence[RunRecord], how: Bootstrap) -> CvSummary:
    folds = [FoldScores(run.fold, run.name, tuple(read_cases(run.folder / FILE))) for run in runs]
    return summarise_folds(folds, how.level, how.samples, how.seed)


def _to_mlflow(project: Project, group: CvGroup, summary: CvSummary, files: Sequence[Path], complete: bool) -> None:
    from fran.tracking.guard import warn_only_mlflow
    from fran.tracking.mlflow_logger import sqlite_uri, tracking_db
    from fran.tracking.parents import log_summary, stores_of

    runs = [project.folders.checkpoints / fold.run for fold in summary.folds]
    own = tracking_db(project.folders.project)
    for uri in stores_of(runs, sqlite_uri(own) if own.is_file() else None):
        with warn_only_mlflow(f"the summary of {group.name} was not stored in {uri}"):
            log_summary(uri, group, metrics_of(summary), files, len(summary.folds), complete)


def _print(title: str, summary: CvSummary, as_json: bool, about: Mapping[str, Any]) -> None:
    for line in summary.collapsed:
        log.warning("%s", line)
    if as_json:
        say_json({**about, **as_dict(summary)})
        return
    show_table(f"{title}: {summary.n_cases} cases of {len(summary.folds)} folds", *table_of(summary))
    worst = [(s.case, s.label, f"{s.dice:.3f}", f.fold, f.run) for f, s in summary.worst()]
    show_table("\nLowest Dice", ("case", "label", "Dice", "fold", "run"), worst)


def check(config: CvShowConfig) -> list[SettingProblem]:
    """Settings that cannot work."""
    wanted = {
        "level": 0 < config.level < 1 or "a share above 0 and below 1",
        "samples": config.samples >= 100 or "100 or more",
        "runs": not (config.runs and config.group) or "null together with group",
    }
    return [SettingProblem(key, getattr(config, key), text) for key, text in wanted.items() if isinstance(text, str)]


def main() -> None:
    """Entry of `fran cv show`."""
    run_verb("cv_show", CvShowConfig, cv_show, check)
