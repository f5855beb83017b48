"""`fran sweep show`: trials ranked with intervals, which settings mattered, and the commands for the best."""

from __future__ import annotations

import csv
import logging
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fran.errors import SettingProblem, counted
from fran.evaluation.importance import MIN_TRIALS, Importance, importances
from fran.evaluation.intervals import Bootstrap, bootstrap_means
from fran.io.case_table import FILE, read_cases
from fran.io.files import atomic_path, read_json, write_json
from fran.projects.project import Project
from fran.tracking import sweeps
from fran.tracking.sweeps import Sweep, Trial, find_sweep, sweeps_in
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.schema import SweepShowConfig
from fran.workflows.sweep_jobs import settings_of, without_places
from fran.workflows.sweeps import SEEDS, sweeps_folder
from fran.workflows.terminal import say, say_json, show_table
from fran.workflows.train import OVERRIDES

TABLE, JSON, PLOT = "summary.csv", "summary.json", "best_so_far.png"
COLUMNS = ("trial", "state", "value", "low", "high", "epoch", "epochs", "seconds", "run", "settings")
log = logging.getLogger("fran.sweep")


@dataclass(frozen=True)
class Noise:
    """How much equal trainings with other seeds differ.

    Attributes:
        sweep: name of the sweep that tells.
        n: trainings.
        mean, sd: of their values.
    """

    sweep: str
    n: int
    mean: float
    sd: float

    @property
    def least(self) -> float:
        """Difference of two trainings that seeds alone exceed one time in twenty."""
        return 1.96 * math.sqrt(2) * self.sd


def sweep_show(job: Job[SweepShowConfig]) -> None:
    """Show a sweep as it stands.

    Raises:
        StoreError: no such sweep.
    """
    config = job.config
    project = existing_project(config.paths, config.project)
    sweep = find_sweep(sweeps_folder(project.folders), config.sweep)
    collect(project, sweep, Bootstrap(config.level, config.samples, config.seed), config.seeds, as_json=config.json)


def collect(project: Project, sweep: Sweep, how: Bootstrap, seeds: int, *, as_json: bool = False) -> Mapping[str, str]:
    """Print the trials of a sweep, write them beside it, and bring them to its MLflow run.

    Args:
        project: of the sweep.
        sweep: as it stands.
        how: intervals over cases.
        seeds: of the command for the noise between seeds.
        as_json: print JSON instead of tables.

    Returns:
        what can be done with the best trial, as command lines; empty where none has a value.
    """
    trials, checkpoints = sweep.trials(), project.folders.checkpoints
    ranked = sweep.ranked(trials)
    order = [*ranked, *(trial for trial in trials if trial not in ranked)]
    limits = {t.number: _interval(checkpoints / t.run, sweep.metric, how) if t.run else None for t in order}
    found = importances(*_told(trials), largest=sweep.mode == "max", seed=how.seed)
    noise = noise_of(sweep)
    content: dict[str, Any] = {
        "sweep": sweep.name,
        "metric": sweep.metric,
        "mode": sweep.mode,
        "command": sweep.command,
        "trials": [_plain(trial, limits[trial.number]) for trial in order],
        "importance": [vars(one) for one in found],
        "noise": vars(noise) if noise else None,
        "best": _commands(project, sweep, ranked[0], seeds) if ranked else None,
    }
    files = _write(sweep, content, trials)
    _to_mlflow(project, sweep, trials, ranked, files)
    commands: Mapping[str, str] = content["best"]["commands"] if ranked else {}
    if as_json:
        say_json(content)
        return commands
    rows = [[_cell(row[name]) for name in COLUMNS] for row in content["trials"]]
    show_table(f"{sweep.name}: {sweep.metric} of {counted(len(trials), 'trial')}", COLUMNS, rows)
    _say_reasons(order)
    _say_importance(found, len(_told(trials)[1]))
    if noise is not None:
        say(
            f"noise: {noise.n} trainings that differ in their seed have a standard deviation of {noise.sd:.4f}"
            f" ({noise.sweep}); of two trials, a difference below {noise.least:.4f} tells little"
        )
    _say_best(sweep, ranked, content["best"])
    say(f"folder: {sweep.folder}")
    return commands


def noise_of(sweep: Sweep) -> Noise | None:
    """The noise between seeds, from the sweep itself or from the one beside it that repeats its best; None without."""
    for one in (sweep, *(s for s in sweeps_in(sweep.folder.parent) if s.name == f"{sweep.name}{SEEDS}")):
        if set(one.what.get("differing", ())) == {"trainer.seed"} and one.metric == sweep.metric:
            values = [t.value for t in one.trials() if t.state == sweeps.FINISHED and t.value is not None]
            if len(values) >= 2:
                return Noise(one.name, len(values), float(np.mean(values)), float(np.std(values, ddof=1)))
    return None


def _interval(run_folder: Path, metric: str, how: Bootstrap) -> tuple[float, float] | None:
    """Interval over the cases of the best validation; None where the metric is no mean over cases, or without them."""
    kind, _, label = metric.removeprefix("val/").partition("_")
    if kind not in ("dice", "nsd") or not (run_folder / FILE).is_file():
        return None
    scores = read_cases(run_folder / FILE)
    cases, labels = (list(dict.fromkeys(getattr(s, name) for s in scores)) for name in ("case", "label"))
    if label and label not in labels:
        return None
    table = np.full((len(cases), len(labels)), np.nan)
    for score in scores:
        table[cases.index(score.case), labels.index(score.label)] = getattr(score, kind)
    low, high = bootstrap_means(table, how.samples, how.level, how.seed)
    column = labels.index(label) if label else -1
    return (float(low[column]), float(high[column])) if math.isfinite(low[column]) else None


def _told(trials: Sequence[Trial]) -> tuple[list[Mapping[str, Any]], list[float]]:
    """Settings and values of the trials that say something about settings."""
    telling = [t for t in trials if t.state == sweeps.DIVERGED or (t.done and t.value is not None)]
    values = [t.value if t.value is not None and t.state != sweeps.DIVERGED else math.nan for t in telling]
    return [settings_of(t) for t in telling], values


def _plain(trial: Trial, limits: tuple[float, float] | None) -> dict[str, Any]:
    low, high = limits or (None, None)
    names = ("state", "value", "epoch", "epochs", "run", "reason", "attempts")
    about = {name: getattr(trial, name) for name in names}
    settings = " ".join(trial.overrides)
    return {
        "trial": trial.number,
        **about,
        "low": low,
        "high": high,
        "seconds": round(trial.elapsed_s),
        "settings": settings,
    }


def _commands(project: Project, sweep: Sweep, best: Trial, seeds: int) -> dict[str, Any]:
    """What can be done with the best trial, as command lines."""
    title, folder = project.project_title, project.folders.checkpoints / str(best.run)
    stored: list[str] = read_json(folder / OVERRIDES) if (folder / OVERRIDES).is_file() else []
    again = without_places(stored) or [*sweep.what["overrides"], *best.overrides]
    own_seed = [o for o in again if not o.startswith("trainer.seed=")]
    listed = ",".join(map(str, range(seeds)))
    commands = {
        "again": shlex.join(["fran", "train", *again]),
        "export": f"fran export project={title} run={best.run} output={best.run}.zip",
        "all folds": shlex.join(["fran", "cv", *(o for o in again if not o.startswith("fold="))]),
        "noise between seeds": shlex.join(
            ["fran", "train", "-m", *own_seed, f"trainer.seed={listed}", f"sweep={sweep.name}{SEEDS}"]
        ),
    }
    if best.state == sweeps.STOPPED:
        commands = {"to its end": f"fran train project={title} resume={best.run}", **commands}
    return {"trial": best.number, "run": best.run, "value": best.value, "commands": commands}


def _write(sweep: Sweep, content: Mapping[str, Any], trials: Sequence[Trial]) -> list[Path]:
    """summary.csv, summary.json and the picture, in the sweep's folder."""
    from fran.reporting.sweeps import best_so_far_png
    from fran.tracking.guard import warn_only

    paths = [sweep.folder / name for name in (TABLE, JSON)]
    with atomic_path(paths[0]) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, "reason"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(content["trials"])
    write_json(paths[1], content)
    ended = sorted((t for t in trials if t.done), key=lambda t: t.ended_at)
    if any(t.value is not None for t in ended):
        values = [math.nan if t.value is None else t.value for t in ended]
        early = [t.state == sweeps.STOPPED for t in ended]
        with warn_only("the picture was not drawn"):
            paths.append(best_so_far_png(values, early, sweep.folder / PLOT, sweep.metric, sweep.mode == "max"))
    return paths


def _to_mlflow(
    project: Project, sweep: Sweep, trials: Sequence[Trial], ranked: Sequence[Trial], files: Sequence[Path]
) -> None:
    """To the sweep's run in the stores that its trials are in."""
    from fran.tracking.guard import warn_only_mlflow
    from fran.tracking.mlflow_logger import sqlite_uri, tracking_db
    from fran.tracking.parents import stores_of
    from fran.tracking.sweep_parents import log_sweep

    runs = [project.folders.checkpoints / trial.run for trial in trials if trial.run]
    own = tracking_db(project.folders.project)
    counts = {state: sum(t.state == state for t in trials) for state in {t.state for t in trials}}
    metrics = {"sweep/trials": float(len(trials)), **{f"sweep/{state}": float(n) for state, n in counts.items()}}
    if ranked and ranked[0].value is not None:
        metrics["sweep/best"] = ranked[0].value
    going_on = any(not trial.done for trial in trials)
    status = "RUNNING" if sweep.is_running() else "KILLED" if going_on else "FINISHED"
    for uri in stores_of(runs, sqlite_uri(own) if own.is_file() else None):
        with warn_only_mlflow(f"the summary of {sweep.name} was not stored in {uri}"):
            log_sweep(uri, sweep, project.project_title, metrics, files, status)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.0f}"
    return str(value)


def _say_reasons(trials: Sequence[Trial]) -> None:
    for trial in trials:
        if trial.state in (*sweeps.UNSUCCESSFUL, sweeps.DIVERGED, sweeps.REFUSED) and trial.reason:
            say(f"trial {trial.number} {trial.state}: {' '.join(trial.reason.split())}")


def _say_importance(found: Sequence[Importance], n: int) -> None:
    if not found:
        few = f"{counted(n, 'trial')} with a value, too few; {MIN_TRIALS} are the least" if n < MIN_TRIALS else ""
        say(f"importance of settings: {few or 'no setting differs'}")
        return
    rows = [(one.key, f"{one.share:.2f}", f"{one.p:.3f}", one.better, one.n) for one in found]
    title = "\nShare of the ranks' variance that a setting explains by itself, and how often chance explains as much"
    show_table(title, ("setting", "share", "by chance", "better", "trials"), rows)


def _say_best(sweep: Sweep, ranked: Sequence[Trial], best: Mapping[str, Any] | None) -> None:
    if best is None:
        say("no trial has come to an end with a value yet")
        return
    say(f"\nbest: trial {best['trial']}, run {best['run']}, {sweep.metric} {best['value']:.4f}")
    if len(ranked) > 1:
        say("(the best of several is flattered by its luck: judge it on cases that had no part in the choice)")
    width = max(map(len, best["commands"]))
    for name, command in best["commands"].items():
        say(f"  {name + ':':<{width + 1}} {command}")


def check(config: SweepShowConfig) -> list[SettingProblem]:
    """Settings that cannot work."""
    wanted = {
        "level": 0 < config.level < 1 or "a share above 0 and below 1",
        "samples": config.samples >= 100 or "100 or more",
        "seeds": config.seeds >= 2 or "2 or more",
    }
    return [SettingProblem(key, getattr(config, key), text) for key, text in wanted.items() if isinstance(text, str)]


def main() -> None:
    """Entry of `fran sweep show`."""
    run_verb("sweep_show", SweepShowConfig, sweep_show, check)
