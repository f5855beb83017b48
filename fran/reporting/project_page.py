"""The page of a project: what data it holds, how they were judged and dealt to folds, and what was trained on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fran.errors import ConfigError
from fran.reporting.charts import Chart, figure, histogram
from fran.reporting.embed import Embedded
from fran.reporting.page import Cell, Table, number, text, write_page

if TYPE_CHECKING:
    from fran.projects.database import CaseRow, Verdict
    from fran.projects.project import Project

MAX_ROWS = 500
#: Labels whose volumes are drawn; all are in the table.
MAX_CHARTS = 12
_AXES = ("x", "y", "z")
_GRAVEST = ("error", "warning", "note")


@dataclass(frozen=True)
class RunRow:
    """A run in the page's table; what is not known is None or empty.

    Attributes:
        name: of the run.
        page: file name of its own report beside this one, where there is one.
        plan, model, fold, state: in words.
        epochs: finished.
        best_dice: of its validations.
        label_dice: mean Dice of each label in its best validation.
        alarms: how many it raised.
    """

    name: str
    page: str
    plan: str
    model: str
    fold: str
    state: str
    epochs: int
    best_dice: float | None
    label_dice: Mapping[str, float]
    alarms: int


def write_project_page(
    path: Path | str,
    project: Project,
    status: Mapping[str, Any],
    runs: Sequence[RunRow],
    sheets: Sequence[Embedded],
    problems: Sequence[str],
    next_step: str,
) -> Path:
    """Write the page.

    Args:
        path: HTML file to write.
        project: that it is about.
        status: of the project, see `fran.projects.status.project_status`.
        runs: of the project.
        sheets: pictures of its cases.
        problems: what could not be read or drawn.
        next_step: the command that the project's state asks for.
    """
    cases = project.cases()
    training = [case for case in cases if not case.test]
    volumes = _volumes(project, training)
    verdicts = project.database.verdicts()
    counts = Counter(str(v.problem.severity) for v in verdicts)
    return write_page(
        path,
        "project.html",
        title=f"Project {project.title}",
        facts=_facts(status, training),
        problems=[*problems, *([volumes] if isinstance(volumes, str) else [])],
        sources=_sources(status["datasources"]),
        verdicts=_verdicts(verdicts) if verdicts else None,
        verdicts_left=max(0, len(verdicts) - MAX_ROWS),
        judged=", ".join(f"{counts[s]} {s}{'' if counts[s] == 1 else 's'}" for s in _GRAVEST),
        grids=_grids(training) if training else None,
        grid_charts=_grid_charts(training) if training else [],
        labels=_labels(volumes) if not isinstance(volumes, str) and volumes else None,
        label_charts=[] if isinstance(volumes, str) else _label_charts(volumes),
        cases=_cases(cases[:MAX_ROWS]) if cases else None,
        cases_left=max(0, len(cases) - MAX_ROWS),
        folds=_folds(status["folds"], status["datasources"]) if status["folds"]["cases"] else None,
        dealt=_dealt(status["folds"]),
        sheets=sheets,
        runs=_runs(runs) if runs else None,
        stages=_stages(status["preprocessed"], len(cases)) if status["preprocessed"] else None,
        next_step=next_step,
    )


@dataclass(frozen=True)
class _Volumes:
    """Volumes in mm³ of a label over the training cases that bear it."""

    value: int
    name: str
    mm3: Sequence[float]


def _volumes(project: Project, training: Sequence[CaseRow]) -> list[_Volumes] | str:
    """Of each label of the output; in words, why there are none."""
    try:
        found, names = project.label_groups, project.output_names
    except ConfigError as error:
        return str(error)
    made = []
    for new, (group, old) in found.origin.items():
        bearing = [c for c in training if c.ds in found.groups[group] and old in c.labels]
        made.append(_Volumes(new, names[new], [c.labels[old] * math.prod(c.spacing_mm) for c in bearing]))
    return made


def _facts(status: Mapping[str, Any], training: Sequence[CaseRow]) -> list[tuple[str, str]]:
    patients = len({case.patient for case in training})
    modalities = Counter(case.modality for case in training)
    facts = [
        ("cases", f"{status['n_training']} for training ({patients} patients), {status['n_test']} for testing"),
        ("modality", ", ".join(f"{name} ({n})" for name, n in sorted(modalities.items())) or "none yet"),
        ("folder", status["folder"]),
    ]
    return [("about", status["mnemonic"]), *facts] if status["mnemonic"] else facts


def _sources(sources: Sequence[Mapping[str, Any]]) -> Table:
    header = ["datasource", "training", "test", "patients", "modality", "errors", "warnings", "notes", "folder"]
    rows: list[list[Cell]] = [
        [
            text(s["name"], "patches" if s["ds_type"] == "patch" else ""),
            *(number(n) for n in (s["n_cases"] - s["n_test"], s["n_test"], s["n_patients"])),
            text(", ".join(s["modalities"])),
            *(number(s[f"n_{kind}s"]) for kind in _GRAVEST),
            text(s["folder"], "" if s["folder_exists"] else "not there now"),
        ]
        for s in sources
    ]
    return Table("Folders of raw data, their cases and what was found wrong with them", header, rows)


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    header = ["case", "verdict", "datasource", "what", "expected", "found", "what to do"]
    ordered = sorted(verdicts, key=lambda v: (_GRAVEST.index(str(v.problem.severity)), v.ds, v.problem.case_id))
    rows = []
    for verdict in ordered[:MAX_ROWS]:
        p = verdict.problem
        cells = (p.case_id, p.severity, verdict.ds, p.what, p.expected, p.found, p.next_step)
        rows.append([text(cell) for cell in cells])
    return Table("Errors leave a case out; warnings and notes keep it", header, rows, filter=1)


def _grids(training: Sequence[CaseRow]) -> Table:
    spacing = np.array([c.spacing_mm for c in training], dtype=np.float64)
    size = np.array([c.size for c in training], dtype=np.float64)
    rows: list[list[Cell]] = []
    for what, table in (("spacing, mm", spacing), ("size, voxels", size), ("extent, mm", spacing * size)):
        for axis, values in zip(_AXES, table.T, strict=True):
            found = np.percentile(values, (0, 10, 50, 90, 100)).tolist()
            rows.append([text(f"{what}, {axis}"), *(Cell(figure(v), v, number=True) for v in found)])
    return Table("Grids of the training cases: x from left to right, y from back to front, z upwards", _QUANTILES, rows)


_QUANTILES = ["what", "least", "10 %", "median", "90 %", "most"]


def _grid_charts(training: Sequence[CaseRow]) -> list[Chart]:
    made = []
    for i, axis in enumerate(_AXES):
        made.append(histogram(f"Spacing along {axis}", [c.spacing_mm[i] for c in training], "mm"))
    for i, axis in enumerate(_AXES):
        made.append(histogram(f"Extent along {axis}", [c.spacing_mm[i] * c.size[i] for c in training], "mm"))
    return made


def _labels(volumes: Sequence[_Volumes]) -> Table:
    header = ["label", "value", "cases", "total ml", "least ml", "median ml", "most ml"]
    rows = []
    for label in volumes:
        ml = np.array(label.mm3, dtype=np.float64) / 1000
        found = (ml.sum(), ml.min(), np.median(ml), ml.max()) if ml.size else (math.nan,) * 4
        shown = (Cell(figure(float(v)), float(v), number=True) if math.isfinite(v) else number(None) for v in found)
        rows.append([text(label.name), number(label.value), number(len(label.mm3)), *shown])
    return Table("Labels of the output over the training cases; volumes of a case", header, rows)


def _label_charts(volumes: Sequence[_Volumes]) -> list[Chart]:
    made = [v for v in volumes if v.mm3][:MAX_CHARTS]
    return [histogram(f"Volume of {v.name}", [mm3 / 1000 for mm3 in v.mm3], "ml") for v in made]


def _cases(cases: Sequence[CaseRow]) -> Table:
    header = ["case", "datasource", "patient", "use", "spacing mm", "size voxels", "labelled ml"]
    rows: list[list[Cell]] = []
    for case in cases:
        ml = sum(case.labels.values()) * math.prod(case.spacing_mm) / 1000
        use = "test" if case.test else "no fold yet" if case.fold is None else f"fold {case.fold}"
        rows.append(
            [
                *(text(cell) for cell in (case.case_id, case.ds, case.patient, use)),
                text(" × ".join(figure(round(v, 3)) for v in case.spacing_mm)),
                text(" × ".join(map(str, case.size))),
                Cell(figure(ml), ml, number=True),
            ]
        )
    return Table("Every case", header, rows, filter=3)


def _folds(folds: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> Table:
    names = [s["name"] for s in sources if s["n_cases"] > s["n_test"]]
    rows = [
        [text(f"fold {fold}"), *(number(counts.get(name, 0)) for name in names), number(sum(counts.values()))]
        for fold, counts in sorted(folds["cases"].items(), key=lambda item: int(item[0]))
    ]
    return Table("Cases that each fold validates, by datasource", ["fold", *names, "all"], rows)


def _dealt(folds: Mapping[str, Any]) -> list[str]:
    said = []
    if folds["cases"]:
        how = f"taken from {folds['from']}" if folds["from"] else f"{folds['n_folds']} folds, seed {folds['seed']}"
        said.append(f"{how}; digest {folds['digest']}")
    if folds["unassigned"]:
        said.append(f"{folds['unassigned']} training cases have no fold yet")
    said += [f"in different folds though of one patient or image: {', '.join(g)}" for g in folds["parted_groups"]]
    return said


def _runs(runs: Sequence[RunRow]) -> Table:
    labels = list(dict.fromkeys(label for run in runs for label in run.label_dice))
    labels = labels if len(labels) <= MAX_CHARTS else []
    header = [
        "run",
        "plan",
        "network",
        "fold",
        "state",
        "epochs",
        "best Dice",
        *(f"Dice {n}" for n in labels),
        "alarms",
    ]
    rows: list[list[Cell]] = [
        [
            Cell(run.name, run.name, link=run.page),
            *(text(cell) for cell in (run.plan, run.model, run.fold, run.state)),
            number(run.epochs),
            number(run.best_dice, 3),
            *(number(run.label_dice.get(label), 3) for label in labels),
            number(run.alarms),
        ]
        for run in runs
    ]
    caption = "Mean Dice over the cases of the best validation; runs of different folds judge different cases"
    return Table(caption, header, rows)


def _stages(stages: Sequence[Mapping[str, Any]], n_cases: int) -> Table:
    rows = [
        [text(s["stage"]), number(s["n_cases"], 0, f"of {n_cases}"), number(s["bytes"] / 1e6, 1), text(s["folder"])]
        for s in stages
    ]
    return Table("Preprocessed data", ["stage", "cases", "MB", "folder"], rows)
