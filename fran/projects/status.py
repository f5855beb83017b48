"""Where a project stands: cases, folds, labels, groups, plans, preprocessed folders and runs, as plain data."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fran.errors import ConfigError
from fran.projects.admission import fold_case
from fran.projects.assignment import SETTING, assignment_of
from fran.projects.database import CaseRow, SourceRow
from fran.projects.folds import groups
from fran.projects.splits import split_digest
from fran.projects.stored import StageFolder, stage_folders

if TYPE_CHECKING:
    from fran.projects.project import Project


def project_status(project: Project) -> dict[str, Any]:
    """Everything `fran project status` shows, ready for JSON; reads small files only."""
    cases = project.cases()
    training = [case for case in cases if not case.test]
    return {
        "title": project.title,
        "mnemonic": project.mnemonic,
        "folder": str(project.folders.project),
        "n_cases": len(cases),
        "n_training": len(training),
        "n_test": len(cases) - len(training),
        "datasources": _datasources(project, cases),
        "folds": _folds(project, cases),
        "labels": _labels(project, training),
        "lm_groups": project.database.setting("lm_groups"),
        "plans": [{"id": p.id, "name": p.name, "created_at": p.created_at, "stages": p.stages} for p in project.plans],
        "preprocessed": [_stage(stage, {c.case_id for c in cases}) for stage in stage_folders(project.folders)],
        "runs": runs(project.folders.checkpoints),
        "properties": project.folders.global_properties.exists(),
    }


def _datasources(project: Project, cases: Sequence[CaseRow]) -> list[dict[str, Any]]:
    verdicts = project.database.verdicts()
    said = {name: Counter(str(v.problem.severity) for v in verdicts if v.ds == name) for name in project.datasources}
    return [
        _datasource(source, [c for c in cases if c.ds == source.name], said[source.name])
        for source in project.database.sources().values()
    ]


def _datasource(source: SourceRow, cases: Sequence[CaseRow], said: Counter[str]) -> dict[str, Any]:
    return {
        "name": source.name,
        "folder": str(source.folder),
        "folder_exists": source.folder.is_dir(),
        "ds_type": source.ds_type,
        "n_cases": len(cases),
        "n_test": sum(c.test for c in cases),
        "n_patients": len({c.patient for c in cases}),
        "modalities": dict(sorted(Counter(c.modality for c in cases).items())),
        "annotated": None if source.annotated is None else list(source.annotated),
        **{f"n_{severity}s": said[severity] for severity in ("error", "warning", "note")},
    }


def _folds(project: Project, cases: Sequence[CaseRow]) -> dict[str, Any]:
    folds = {case.case_id: case.fold for case in cases if not case.test}
    setting = project.database.setting(SETTING)
    assignment = assignment_of(folds, setting)
    counts: dict[str, dict[str, int]] = {}
    for case in cases:
        if case.fold is not None:
            of_fold = counts.setdefault(str(case.fold), {})
            of_fold[case.ds] = of_fold.get(case.ds, 0) + 1
    parted = [g for g in groups([fold_case(c) for c in cases]) if len({folds.get(c.case_id) for c in g}) > 1]
    return {
        "n_folds": assignment.n_folds,
        "seed": assignment.seed,
        "dealt": setting is not None,
        "from": (setting or {}).get("from"),
        "digest": split_digest(dict(folds), "folds", assignment),
        "cases": counts,
        "unassigned": sum(fold is None for fold in folds.values()),
        "parted_groups": [[c.case_id for c in group] for group in parted],
    }


def _labels(project: Project, training: Sequence[CaseRow]) -> list[dict[str, Any]] | str:
    """One row for each label of the output, or why there are none."""
    try:
        found, names = project.label_groups, project.output_names
    except ConfigError as error:
        return str(error)
    rows = []
    for new, (group, old) in found.origin.items():
        bearing = [c for c in training if c.ds in found.groups[group] and old in c.labels]
        rows.append(
            {
                "value": new,
                "name": names[new],
                "group": group,
                "raw_value": old,
                "datasources": sorted({c.ds for c in bearing}),
                "n_cases": len(bearing),
                "n_voxels": sum(c.labels[old] for c in bearing),
            }
        )
    return rows


def _stage(stage: StageFolder, cases: set[str]) -> dict[str, Any]:
    return {
        "stage": stage.stage or "unreadable",
        "folder": str(stage.folder),
        "n_cases": len(stage.cases & cases),
        "n_unused": len(stage.cases - cases),
        "bytes": stage.bytes,
    }


def runs(folder: Path) -> list[dict[str, Any]]:
    """Runs of a project, in order of name, with what their small files tell; `started_at` tells of the last resume."""
    return [_run(path.parent) for path in sorted(folder.glob("*/config.yaml"))]


def _run(folder: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        config = None
    config = config if isinstance(config, dict) else {}
    dices = _column(folder / "metrics.csv", "val/dice")
    return {
        "name": folder.name,
        "started_at": datetime.fromtimestamp((folder / "config.yaml").stat().st_mtime, UTC).isoformat(),
        "plan": config.get("plan_name"),
        "fold": config.get("fold"),
        "epochs": len(dices),
        "best_dice": max((d for d in map(_number, dices) if d is not None), default=None),
        "checkpoint": any((folder / f"{name}.ckpt").is_file() for name in ("best", "last")),
    }


def _column(path: Path, name: str) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row.get(name) or "" for row in csv.DictReader(stream)]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None
