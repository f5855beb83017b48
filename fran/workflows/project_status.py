"""`fran project status`: where a project stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import StoreError
from fran.tracking.runs import in_training, read_record
from fran.workflows.entry import Job, run_verb
from fran.workflows.next_steps import INTERRUPTED, next_steps
from fran.workflows.projects import existing_project
from fran.workflows.schema import ProjectStatusConfig
from fran.workflows.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from fran.projects.project import Project

log = logging.getLogger(__name__)


def project_status(job: Job[ProjectStatusConfig]) -> None:
    """Print tables, or one JSON object."""
    config = job.config
    project = existing_project(config.paths, config.project)
    found = status_of(project)
    if config.json:
        say_json(found)
        return
    mnemonic = f" ({found['mnemonic']})" if found["mnemonic"] else ""
    say(f"project {found['title']}{mnemonic}: {found['n_training']} training and {found['n_test']} test cases")
    say(f"{found['folder']}\n")
    _say_datasources(found["datasources"])
    say_folds(found["folds"])
    _say_labels(found["labels"], found["lm_groups"])
    _say_preprocessed(found["preprocessed"], found["n_cases"])
    _say_plans(found["plans"])
    _say_runs(found["runs"])
    first, *others = next_steps(project, found)
    say("\n".join([f"next: {first}", *(f"      {other}" for other in others)]))


def status_of(project: Project) -> dict[str, Any]:
    """`fran.projects.status.project_status`, and of each run under "state" whether it can go on."""
    from fran.projects import status

    found = status.project_status(project)
    for run in found["runs"]:
        run["state"] = _state(project.folders.checkpoints / run["name"], checkpoint=run["checkpoint"])
    return found


def _state(run_folder: Path, *, checkpoint: bool) -> str:
    if in_training(run_folder):
        return "in training"
    try:
        if read_record(run_folder).finished:
            return "finished"
    except StoreError:
        log.debug("%s has no readable record", run_folder)
    return INTERRUPTED if checkpoint else "no checkpoint"


def _say_datasources(sources: Sequence[dict[str, Any]]) -> None:
    rows = [
        (
            *(s["name"], "patch" if s["ds_type"] == "patch" else "", s["n_cases"] - s["n_test"], s["n_test"]),
            *(s["n_patients"], ", ".join(s["modalities"]), _problems(s)),
            s["folder"] if s["folder_exists"] else f"{s['folder']} (not there)",
        )
        for s in sources
    ]
    columns = ("datasource", "", "training", "test", "patients", "modality", "verdicts", "folder")
    show_table("Datasources", columns, rows)
    say("")


def _problems(source: dict[str, Any]) -> str:
    counts = ((source[f"n_{name}s"], name) for name in ("error", "warning", "note"))
    return ", ".join(f"{n} {name}{'s' * (n > 1)}" for n, name in counts if n) or "ok"


def say_folds(folds: dict[str, Any]) -> None:
    """Print the table of folds: cases of each datasource in each, and what is not as it should be."""
    sources = sorted({ds for counts in folds["cases"].values() for ds in counts})
    rows = [
        (fold, *(counts.get(ds, 0) for ds in sources), sum(counts.values()))
        for fold, counts in sorted(folds["cases"].items(), key=lambda item: int(item[0]))
    ]
    if rows:
        dealt = f"as in {folds['from']}" if folds["from"] else f"seed {folds['seed']}"
        show_table(f"Folds (validation cases; {dealt})", ("fold", *sources, "all"), rows)
        say(f"digest {folds['digest']}")
    if folds["unassigned"]:
        say(f"{folds['unassigned']} training cases have no fold yet")
    for group in folds["parted_groups"]:
        say(
            f"{', '.join(group)} share a patient or an image, but not a fold (they came together later): where one is "
            "validated or tested on, the others are left out of training"
        )
    say("")


def _say_labels(labels: list[dict[str, Any]] | str, lm_groups: list[list[str]] | None) -> None:
    if isinstance(labels, str):
        say(f"Labels: {labels}\n")
        return
    rows = [
        (row["value"], row["name"], row["raw_value"], ", ".join(row["datasources"]), row["n_cases"], row["n_voxels"])
        for row in labels
    ]
    columns = ("output", "name", "in the files", "datasources", "cases", "voxels")
    show_table("Labels (training cases)", columns, rows)
    groups = " | ".join(" ".join(group) for group in lm_groups or []) or "one group with all datasources"
    say(f"label groups: {groups}\n")


def _say_preprocessed(stages: Sequence[dict[str, Any]], n_cases: int) -> None:
    rows = [
        (
            *(s["stage"], f"{s['n_cases']} of {n_cases}", s["n_unused"] or "", f"{s['bytes'] / 1e6:.1f}"),
            s["folder"],
        )
        for s in stages
    ]
    if rows:
        show_table("Preprocessed", ("stage", "cases", "no longer used", "MB", "folder"), rows)
    else:
        say("Preprocessed: nothing yet")
    say("")


def _say_plans(plans: Sequence[dict[str, Any]]) -> None:
    if plans:
        rows = [(p["id"], p["name"], p["created_at"], ", ".join(p["stages"])) for p in plans]
        show_table("Plans", ("id", "plan", "stored", "stages"), rows)
        say("")


def _say_runs(runs: Sequence[dict[str, Any]]) -> None:
    if runs:
        rows = [
            (
                *(r["name"], r["plan"] or "", "" if r["fold"] is None else r["fold"], r["state"], r["epochs"]),
                "—" if r["best_dice"] is None else f"{r['best_dice']:.3f}",
            )
            for r in runs
        ]
        show_table("Runs", ("run", "plan", "fold", "state", "epochs", "best Dice"), rows)
        say("")


def main() -> None:
    """Entry of `fran project status`."""
    run_verb("project_status", ProjectStatusConfig, project_status)
