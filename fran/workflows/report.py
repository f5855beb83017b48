"""`fran report`: a page about a project, a run or a comparison, as one HTML file."""

from __future__ import annotations

import logging
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from fran.errors import FranError, NothingNamedSo, SettingProblem, choices, counted
from fran.workflows.entry import Job, run_verb
from fran.workflows.schema import ReportConfig
from fran.workflows.terminal import counting, say, say_json

if TYPE_CHECKING:
    from fran.projects.project import Project
    from fran.reporting.embed import Embedded
    from fran.reporting.project_page import RunRow

FOLDER, TABLE = "reports", ".csv"
log = logging.getLogger("fran.report")


def report(job: Job[ReportConfig]) -> None:
    """Write the page that is asked for, and say where it is.

    Raises:
        StoreError: no such project, run or table.
        DataError: scores that have no case in common.
    """
    config = job.config
    if config.compare:
        about, path = "comparison", of_comparison(config)
    elif config.run:
        about, path = "run", of_run(config)
    else:
        about, path = "project", of_project(config)
    if config.json:
        say_json({"about": about, "page": path})
    else:
        say(str(path))


def of_run(config: ReportConfig) -> Path:
    """Write the page of a run."""
    from fran.evaluation.intervals import Bootstrap
    from fran.reporting.run_page import RunFiles, write_run_page
    from fran.tracking.params import flatten_all

    assert config.run is not None
    folder = run_folder(config, config.run)
    run = RunFiles.read(folder)
    settings, said = _settings(folder)
    run.problems += said
    plan, rest = _parted(settings)
    path = _target(config, f"run_{folder.name}.html")
    how = Bootstrap(config.level, config.samples, config.seed)
    facts = _run_facts(folder, settings, run.problems)
    title = (settings.get("project") or {}).get("title") or config.project.title
    commands = _commands(folder, str(title), str(settings.get("plan_name") or "plan1"))
    return write_run_page(path, run, facts, commands, list(plan.items()), list(flatten_all(rest).items()), how)


def of_project(config: ReportConfig) -> Path:
    """Write the page of a project."""
    from fran.reporting.project_page import write_project_page
    from fran.workflows.next_steps import next_steps
    from fran.workflows.project_status import status_of
    from fran.workflows.projects import existing_project

    project = existing_project(config.paths, config.project)
    status = status_of(project)
    path = _target(config, "project.html")
    problems: list[str] = []
    runs = [_run_row(project, row, path.parent, problems) for row in status["runs"]]
    sheets = _sheets(project, config.sheet_cases, problems)
    return write_project_page(path, project, status, runs, sheets, problems, next_steps(project, status)[0].command)


def of_comparison(config: ReportConfig) -> Path:
    """Write the page that compares runs, or tables of scores."""
    from fran.evaluation.intervals import Bootstrap
    from fran.evaluation.measures import COLUMNS
    from fran.evaluation.paired import compare
    from fran.evaluation.report import read_scores
    from fran.io.case_table import FILE
    from fran.parallel.progress import shown
    from fran.reporting.compare_page import Side, write_compare_page
    from fran.workflows.run_stages import differing

    named = config.compare or []
    sides, settings, problems = [], [], []
    for name in named:
        if name.lower().endswith(TABLE):
            path = Path(name).expanduser()
            sides.append(Side("/".join(path.parts[-2:]), path, read_scores(path)))
            continue
        folder = run_folder(config, name, "compare")
        found, said = _settings(folder)
        settings.append(found)
        problems += said
        sides.append(Side(folder.name, folder / FILE, read_scores(folder / FILE)))
    for problem in problems:
        log.warning("%s", problem)
    how = Bootstrap(config.level, config.samples, config.seed)
    columns = [name for name, metric in COLUMNS.items() if metric.better]
    others = shown(sides[1:], len(sides) - 1, "compare", True, "table")
    compared = [compare(sides[0].scores, side.scores, columns, how) for side in others]
    names = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", side.name) for side in sides)
    path = _target(config, f"compare_{names[:150]}.html")
    rows = differing(settings) if len(settings) == len(sides) and not problems else None
    return write_compare_page(path, sides, compared, rows, how)


def run_folder(config: ReportConfig, name: str, key: str = "run") -> Path:
    """Folder of a run's name, or the folder that was given.

    Raises:
        StoreError: there is none; the message lists the project's runs.
    """
    from fran.workflows.projects import folders_of

    runs = folders_of(config.paths, config.project).checkpoints
    folder = Path(name).expanduser().absolute() if "/" in name else runs / name
    if any((folder / file).is_file() for file in ("config.yaml", "run.json")):
        return folder
    known = sorted(path.parent.name for path in runs.glob("*/config.yaml"))
    raise NothingNamedSo(
        f"{key}: expected a run in {runs}, or the folder of one, found no '{name}'; {choices(name, known)}"
    )


def _target(config: ReportConfig, name: str) -> Path:
    """Where the page goes, with its folder made."""
    from fran.workflows.projects import folders_of

    own = folders_of(config.paths, config.project).project / FOLDER / name
    path = Path(config.output).expanduser() if config.output else own
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _settings(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What a run was resolved to, and what is wrong with that file."""
    path = folder / "config.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        return {}, [f"{path}: expected the run's resolved settings, found none that can be read ({error})"]
    if not isinstance(found, dict):
        return {}, [f"{path}: expected the run's resolved settings, found {type(found).__name__}"]
    return found, []


def _parted(settings: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Keys of the plan as text, and the rest."""
    from fran.plans.schema import Plan
    from fran.workflows.plan_show import text

    keys = [f.name for f in fields(Plan)]
    plan = {key: text(settings[key]) for key in keys if key in settings}
    return plan, {key: value for key, value in settings.items() if key not in plan}


def _run_facts(folder: Path, settings: Mapping[str, Any], problems: list[str]) -> list[tuple[str, str]]:
    from fran.tracking.mlflow_logger import RUN_FILE
    from fran.tracking.runs import RECORD

    record, tracked = _stored(folder / RECORD, problems), _stored(folder / RUN_FILE, problems)
    result = record.get("result") or {}
    dice, epoch = result.get("best_dice"), result.get("best_epoch")
    facts = [
        ("project", record.get("project") or (settings.get("project") or {}).get("title")),
        ("plan", record.get("plan") or settings.get("plan_name")),
        ("network", record.get("model")),
        ("fold", record.get("fold", settings.get("fold"))),
        ("state", state_of(folder, record)),
        ("best Dice", f"{dice:.3f} in epoch {epoch}" if isinstance(dice, float) else None),
        ("trained", _trained(result)),
        ("started", record.get("started_at")),
        ("settings digest", record.get("settings_digest")),
        ("folds digest", record.get("folds_digest")),
        ("data digest", record.get("data_digest")),
        ("started from", settings.get("init_from")),
        *_made_with(record.get("made_with") or {}),
        ("MLflow run", f"{tracked['run_id']} in {tracked.get('uri')}" if tracked.get("run_id") else None),
        ("folder", folder),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _made_with(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Programs and machine of a training; `found` is what run.json says of them."""
    versions = found.get("versions") or {}
    commit = f" (commit {found['git_commit']})" if found.get("git_commit") else ""
    named = {"fran": "fran", "torch": "PyTorch", "monai": "MONAI", "python": "Python"}
    programs = [f"{name} {versions[key]}" + commit * (key == "fran") for key, name in named.items() if key in versions]
    return [("made with", ", ".join(programs)), ("device", found.get("device")), ("precision", found.get("precision"))]


def _stored(file: Path, problems: list[str]) -> dict[str, Any]:
    """What a file of a run says; nothing where it is not there."""
    from fran.io.files import read_json

    try:
        found = read_json(file) if file.is_file() else {}
    except FranError as error:
        problems.append(str(error))
        return {}
    return found if isinstance(found, dict) else {}


def state_of(folder: Path, record: Mapping[str, Any]) -> str:
    """Where a training stands, in words."""
    from fran.tracking.runs import COMPLETE, in_training

    stopped = (record.get("result") or {}).get("stopped_by")
    if stopped in COMPLETE:
        return f"finished ({str(stopped).replace('_', ' ')})"
    with suppress(OSError):  # a folder that may only be read
        if in_training(folder):
            return "in training"
    return f"stopped by {stopped}" if stopped else "interrupted, or still in training elsewhere"


def _trained(result: Mapping[str, Any]) -> str:
    if not result.get("epochs"):
        return ""
    minutes = float(result.get("elapsed_s") or 0) / 60
    took = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes"
    return f"{counted(result['epochs'], 'epoch')}, {result.get('steps', '?')} steps, {took}"


def _commands(folder: Path, title: str, plan: str) -> list[tuple[str, str]]:
    """What can be done with a run, and how to type it."""

    def typed(verb: str, *words: str) -> str:
        return shlex.join(["fran", verb, f"project={title}", *words])

    if not any((folder / f"{name}.ckpt").is_file() for name in ("best", "last")):
        return [("No checkpoint is in the folder; train again", typed("train", f"plan={plan}"))]
    name = folder.name
    lines = [
        ("Predict new images", typed("infer", f"runs=[{name}]") + " input=<folder of images>"),
        ("Go on training", typed("train", f"resume={name}") + " trainer.max_epochs=<more>"),
        ("Start another training from its weights", typed("train", f"plan={plan}", f"init_from={name}")),
        ("Hand it on", typed("export", f"run={name}", f"output={name}.zip")),
    ]
    return lines if (folder / "last.ckpt").is_file() else [line for line in lines if line[0] != "Go on training"]


def _run_row(project: Project, row: Mapping[str, Any], reports: Path, problems: list[str]) -> RunRow:
    """A run of the project's table."""
    from fran.io.case_table import FILE
    from fran.io.files import read_json
    from fran.reporting.project_page import RunRow
    from fran.tracking.finish import best_per_label
    from fran.tracking.runs import RECORD

    folder = project.folders.checkpoints / row["name"]
    record = _stored(folder / RECORD, problems)
    alarms: Sequence[Any] = []
    dice: Mapping[str, float] = {}
    try:
        alarms = read_json(folder / "alarms.json") if (folder / "alarms.json").is_file() else []
        dice = best_per_label(folder / FILE)
    except (FranError, ValueError, KeyError) as error:
        problems.append(f"{row['name']}: {error}")
    page = f"run_{row['name']}.html"
    return RunRow(
        name=row["name"],
        page=quote(page) if (reports / page).is_file() else "",
        plan=str(row["plan"] or ""),
        model=str(record.get("model") or ""),
        fold=str(row["fold"]),
        state=state_of(folder, record),
        epochs=row["epochs"],
        best_dice=row["best_dice"],
        label_dice=dice,
        alarms=len(alarms),
    )


def _sheets(project: Project, n: int, problems: list[str]) -> list[Embedded]:
    """Contact sheets of some cases, spread over all."""
    from fran.reporting.embed import embed
    from fran.reporting.sheet import SheetCase, write_sheets

    rows = project.cases()
    chosen = [rows[i * len(rows) // n] for i in range(n)] if n < len(rows) else rows
    if not chosen:
        return []
    cases = [SheetCase(row.case_id, row.ds, row.image, row.lm) for row in chosen]
    names = {v: name for source in project.database.sources().values() for v, name in source.label_names.items()}
    with tempfile.TemporaryDirectory() as folder, counting("sheet") as progress:
        files, failed = write_sheets(cases, names, Path(folder), progress=progress)
        problems += [f"{p.case_id}: {p.what}; {p.found}" for p in failed]
        pictures = [file for file in files if file.suffix == ".png"]
        title = f"{len(chosen) - len(failed)} of {len(rows)} cases, labels outlined"
        alt = f"Axial slices with outlined labels of {', '.join(row.case_id for row in chosen)}"
        return [embed(file, alt, title, "the patient's right is on the left") for file in pictures]


def check(config: ReportConfig) -> list[SettingProblem]:
    """Settings that cannot work."""
    wanted = {
        "compare": config.compare is None or len(config.compare) > 1 or "two or more runs or tables of scores",
        "run": not (config.run and config.compare) or "null together with compare",
        "level": 0 < config.level < 1 or "a share above 0 and below 1",
        "samples": config.samples >= 1 or "1 or more",
        "sheet_cases": config.sheet_cases >= 0 or "0 or more",
        "output": config.output is None or config.output.endswith(".html") or "a file called ….html",
    }
    return [SettingProblem(key, getattr(config, key), said) for key, said in wanted.items() if isinstance(said, str)]


def main() -> None:
    """Entry of `fran report`."""
    run_verb("report", ReportConfig, report, check)
