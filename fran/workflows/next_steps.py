"""What to type next in a project, from where it stands."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from fran.errors import FranError, counted
from fran.io.files import read_json
from fran.tracking.runs import RunRecord, in_training, records
from fran.workflows.entry import compose_job
from fran.workflows.machine_advice import trainable_here
from fran.workflows.overrides import overrides_of
from fran.workflows.plans import plan_of
from fran.workflows.schema import PlansConfig
from fran.workflows.train import CONF_DIRS, OVERRIDES

if TYPE_CHECKING:
    from fran.projects.database import PlanRow
    from fran.projects.project import Project

INTERRUPTED = "interrupted"
DEFAULT_PLAN = "plan1"
IMAGES = "input=<folder of images>"
OF_ONE_RUN = ("project", "fold", "run", "resume", "sweep", "search", "dry_run", "find_batch_size", "init_from")
"""Settings of a run that those of its other folds do not share."""
log = logging.getLogger(__name__)


class Step(NamedTuple):
    """A command, and why it suggests itself."""

    command: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.command}   ({self.why})" if self.why else self.command


def next_steps(project: Project, found: Mapping[str, Any]) -> list[Step]:
    """The command that the state asks for, and what else suggests itself.

    Args:
        project: that there is.
        found: what `fran.workflows.project_status.status_of` says of it.
    """
    title, errors = found["title"], sum(source["n_errors"] for source in found["datasources"])
    steps = [*_steps(project, found)]
    if errors and found["n_training"] and not found["runs"]:
        return [
            Step(f"fran check project={title}", f"{counted(errors, 'error')} in the data; what is refused is left out"),
            steps[0]._replace(why="or go on with the good cases"),
        ]
    return steps


def _steps(project: Project, found: Mapping[str, Any]) -> Iterator[Step]:
    title = found["title"]
    if not found["n_training"]:
        yield Step(f"fran init -t {title} -i <folder of images/ and lms/>")
    elif isinstance(found["labels"], str):
        yield Step(f"fran project groups project={title} 'lm_groups=[[...],[...]]'")
    elif found["folds"]["unassigned"] or not found["properties"]:
        yield Step(f"fran project folds project={title}")
    elif not any(stage["n_cases"] for stage in found["preprocessed"]):
        yield Step(f"fran preprocess project={title} plan={DEFAULT_PLAN}")
    else:
        yield from _of_runs(project, found)


def _of_runs(project: Project, found: Mapping[str, Any]) -> Iterator[Step]:
    """Go on with what was interrupted, train the folds that are missing, and use what is trained."""
    in_order = sorted(found["runs"], key=lambda run: str(run["started_at"]))
    ended = [run for run in in_order if run["state"] in (INTERRUPTED, "finished")]
    if ended and ended[-1]["state"] == INTERRUPTED:  # one that is older than a finished run was given up
        yield Step(f"fran train project={project.title} resume={ended[-1]['name']}", "it was interrupted")
        return
    known = records(project.folders.checkpoints)
    last = next((record for record in reversed(known) if ended and record.name == ended[-1]["name"]), None)
    newer = _preprocessed_plan(project, found, "" if last is None else last.started_at)
    if last is None or newer is not None:
        plan = [f"plan={DEFAULT_PLAN}"] if newer is None else _typed(newer)
        settings, why = trainable_here([f"project={project.title}", *plan])
        yield Step(shlex.join(["fran", "train", *settings, "fold=0"]), why)
    elif sweep := _sweep_of(last):
        yield Step(f"fran sweep show project={project.title} sweep={sweep}", "the best trial, and what to do with it")
    else:
        yield from _of_folds(project.title, found, last, [r for r in known if r.same_settings(last)])


def _of_folds(title: str, found: Mapping[str, Any], last: RunRecord, alike: Sequence[RunRecord]) -> Iterator[Step]:
    finished = {record.fold: record.name for record in alike if record.finished}
    going = {record.fold for record in alike if not record.finished and in_training(record.folder)}
    missing = sorted({int(fold) for fold in found["folds"]["cases"]} - {*finished, *going}, key=int)
    of_folds = {fold: name for fold, name in finished.items() if isinstance(fold, int)}
    if isinstance(last.fold, int):
        if missing:
            typed = shlex.join(["fran", "cv", *_conf_dirs(last), f"project={title}", *_settings_of(last)])
            yield Step(typed, f"the folds that are missing: {', '.join(map(str, missing))}")
        elif len(of_folds) > 1:
            yield Step(f"fran cv show project={title}", "all folds as one result")
        names = [name for _, name in sorted(of_folds.items())]
    else:
        names = [last.name]
    typed = shlex.join(["fran", "infer", f"project={title}", f"runs=[{','.join(names)}]"])
    yield Step(f"{typed} {IMAGES}", "the mean of the folds" if len(names) > 1 else "")


def _preprocessed_plan(project: Project, found: Mapping[str, Any], since: str) -> PlanRow | None:
    """The plan that was stored last, after a time, and whose data are there."""
    there = {stage["folder"] for stage in found["preprocessed"] if stage["n_cases"]}
    made = (
        plan
        for plan in reversed(project.plans)
        if plan.stages and plan.created_at > since and all(folder in there for _, folder in plan.stages.values())
    )
    return next(made, None)


def _typed(row: PlanRow) -> list[str]:
    """A stored plan as settings: its name, and what is other than its files say now."""
    chosen = [f"plan={row.name}"]
    try:
        files = asdict(plan_of(compose_job("plans", PlansConfig, chosen).config))
        stored = yaml.safe_load(row.yaml)
        return chosen + overrides_of({key: stored[key] for key in stored if _plain(files.get(key)) != stored[key]})
    except (FranError, yaml.YAMLError, TypeError):
        log.debug("plan %s cannot be compared with its files", row.name, exc_info=True)
        return chosen


def _plain(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value))


def _sweep_of(record: RunRecord) -> str | None:
    sweep = [o.partition("=")[2] for o in _overrides(record) if o.startswith("sweep=")]
    return sweep[-1] if sweep and sweep[-1] != "null" else None


def _settings_of(record: RunRecord) -> list[str]:
    return [o for o in _overrides(record) if o.lstrip("+~").partition("=")[0] not in OF_ONE_RUN]


def _overrides(record: RunRecord) -> list[str]:
    return _list(record.folder / OVERRIDES)


def _conf_dirs(record: RunRecord) -> list[str]:
    return [word for folder in _list(record.folder / CONF_DIRS)[:1] for word in ("--config-dir", folder)]


def _list(path: Path) -> list[str]:
    return [str(item) for item in read_json(path)] if path.is_file() else []
