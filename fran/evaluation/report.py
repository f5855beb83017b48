"""A score table as CSV, as JSON and in the terminal."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fran.errors import problems_table
from fran.evaluation.scoring import LabelSummary, Score, ScoreTable
from fran.io.files import atomic_path, write_json

COLUMNS = tuple(f.name for f in fields(Score))


def write_scores(table: ScoreTable, folder: Path | str) -> tuple[Path, Path]:
    """Write scores.csv (a row per case and label) and scores.json (the same with summary and problems) to `folder`.

    Dice that is not defined is an empty cell in the CSV and null in the JSON.
    """
    csv_path, json_path = Path(folder) / "scores.csv", Path(folder) / "scores.json"
    with atomic_path(csv_path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(_plain(score) for score in table.scores)
    write_json(json_path, as_dict(table))
    return csv_path, json_path


def as_dict(table: ScoreTable) -> dict[str, Any]:
    """JSON-able form of a table."""
    return {
        "pred": str(table.pred),
        "gt": str(table.gt),
        "references": table.n_references,
        "scored": table.n_scored,
        "unscored": table.n_unscored,
        "missing_predictions": list(table.missing),
        "summary": [_plain(line) for line in table.summary()],
        "scores": [_plain(score) for score in table.scores],
        "problems": [asdict(problem) for problem in table.problems],
    }


def show_scores(table: ScoreTable, console: Console | None = None, n_worst: int = 5) -> None:
    """Show mean and standard deviation per label, the worst cases and the problems in the terminal."""
    (console or Console()).print(Group(_problems(table), _worst_table(table, n_worst), _summary_table(table)))


def _plain(row: Score | LabelSummary) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()}


def _summary_table(table: ScoreTable) -> Table:
    shown = Table(title=f"Dice of {table.n_scored} of {table.n_references} references", title_justify="left")
    for name in ("label", "name", "cases", "mean ± sd", "both empty", "prediction only", "reference only"):
        shown.add_column(name, justify="left" if name == "name" else "right")
    for line in table.summary():
        mean = "-" if math.isnan(line.mean) else f"{line.mean:.3f}"
        sd = "" if math.isnan(line.sd) else f" ± {line.sd:.3f}"
        counts = (str(n) for n in (line.both_empty, line.only_pred, line.only_ref))
        shown.add_row(str(line.label), line.name, str(line.n), f"{mean}{sd}", *counts)
    return shown


def _worst_table(table: ScoreTable, n: int) -> Table:
    shown = Table(title="Lowest Dice", title_justify="left")
    for name in ("case", "name", "Dice", "prediction mm³", "reference mm³"):
        shown.add_column(name, justify="left" if name in ("case", "name") else "right")
    for score in table.worst(n):
        shown.add_row(score.case_id, score.name, f"{score.dice:.3f}", f"{score.pred_mm3:,.0f}", f"{score.ref_mm3:,.0f}")
    return shown


def _problems(table: ScoreTable) -> Text:
    if not table.problems:
        return Text("Every reference was scored.")
    title = f"{table.n_unscored} references not scored ({len(table.missing)} of them without a prediction)"
    return Text(f"{title}\n{problems_table(table.problems)}", style="red" if table.errors else "")
