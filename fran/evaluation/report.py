"""Scores and comparisons as CSV, as JSON and in the terminal."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fran.errors import StoreError, counted, problems_table
from fran.evaluation.intervals import Bootstrap
from fran.evaluation.measures import COLUMNS, Measures, Score
from fran.evaluation.narrow import fitting_table, plain_table
from fran.evaluation.paired import Paired, sentence, verdict
from fran.evaluation.scoring import ScoreTable
from fran.evaluation.summary import Estimate, LabelSummary
from fran.io.case_table import COLUMNS as CASE_COLUMNS
from fran.io.case_table import read_cases
from fran.io.files import atomic_path, write_json

SCORE_COLUMNS = tuple(f.name for f in fields(Score))
PAIRED_COLUMNS = tuple(f.name for f in fields(Paired))
_TEXT, _WHOLE = ("case_id", "name"), ("label", "pred_vox", "ref_vox")
_COUNTS = ("pred_lesions", "ref_lesions", "tp", "fp", "fn")


def write_scores(
    table: ScoreTable, summary: Sequence[LabelSummary], how: Bootstrap, folder: Path | str
) -> tuple[Path, Path]:
    """Write scores.csv (a row per case and label) and scores.json (the same with summary and problems) to `folder`.

    What was not measured or is not defined is an empty cell in the CSV and null in the JSON; an infinite distance is
    ``inf`` in the CSV and null in the JSON, which has no infinity.
    """
    csv_path, json_path = Path(folder) / "scores.csv", Path(folder) / "scores.json"
    _write_csv(csv_path, SCORE_COLUMNS, table.scores)
    write_json(json_path, as_dict(table, summary, how))
    return csv_path, json_path


def read_scores(path: Path | str) -> list[Score]:
    """Scores from a scores.csv, or from the cases.csv of a run; columns that are not there were not measured.

    Labels of a cases.csv have names alone; their values here are negative, and their voxels are -1.

    Raises:
        StoreError: no such file, or not a table of scores.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: expected a table of scores, found no file")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        header, rows = tuple(reader.fieldnames or ()), list(reader)
    if header[: len(CASE_COLUMNS)] == CASE_COLUMNS:
        return _of_cases(path)
    needed = ("case_id", "label", "name", "dice", "pred_vox", "ref_vox")
    lacking = [name for name in needed if name not in header]
    if lacking or not rows:
        found = f"none called {lacking[0]}" if lacking else "no row"
        raise StoreError(f"{path}: expected a scores.csv with the columns {', '.join(needed)}, found {found}")
    try:
        return [Score(**{name: _parsed(name, row.get(name)) for name in SCORE_COLUMNS}) for row in rows]
    except ValueError as error:
        raise StoreError(f"{path}: expected numbers, found {error}; score again") from error


def as_dict(table: ScoreTable, summary: Sequence[LabelSummary], how: Bootstrap) -> dict[str, Any]:
    """JSON-able form of a table."""
    labels = {score.label: score.name for score in table.scores}
    return {
        "pred": str(table.pred),
        "gt": str(table.gt),
        "references": table.n_references,
        "scored": table.n_scored,
        "unscored": table.n_unscored,
        "missing_predictions": list(table.missing),
        "left_out": list(table.left_out),
        "measures": {
            "metrics": list(table.measures.metrics),
            "nsd_mm": {str(label): table.measures.nsd_mm.of(label) for label in labels},
            "lesion_iou": table.measures.lesion_iou,
        },
        "bootstrap": asdict(how),
        "summary": [
            {
                **{k: getattr(line, k) for k in ("label", "name", "both_empty", "only_pred", "only_ref")},
                **{column: _plain(asdict(average)) for column, average in line.averages.items()},
                **({"lesions": _plain(asdict(line.lesions))} if line.lesions else {}),
            }
            for line in summary
        ],
        "scores": [_plain(asdict(score)) for score in table.scores],
        "problems": [asdict(problem) for problem in table.problems],
    }


def write_paired(
    lines: Sequence[Paired], how: Bootstrap, folder: Path | str, pred: Path | str, against: Path | str
) -> tuple[Path, Path]:
    """Write paired.csv (a row per label and metric) and paired.json (the same with sentences) to `folder`."""
    csv_path, json_path = Path(folder) / "paired.csv", Path(folder) / "paired.json"
    _write_csv(csv_path, PAIRED_COLUMNS, lines)
    write_json(json_path, paired_dict(lines, how, pred, against))
    return csv_path, json_path


def paired_dict(lines: Sequence[Paired], how: Bootstrap, pred: Path | str, against: Path | str) -> dict[str, Any]:
    """What paired.json holds."""
    results = [{**_plain(asdict(line)), "meaning": sentence(line, how.level)} for line in lines]
    return {"pred": str(pred), "against": str(against), "bootstrap": asdict(how), "results": results}


def show_scores(
    table: ScoreTable, summary: Sequence[LabelSummary], console: Console | None = None, n_worst: int = 5
) -> None:
    """Show means per label with their intervals, the worst cases and the problems; wrapped for a terminal alone."""
    console = console or Console()
    parts: list[RenderableType] = [_problems(table)]
    parts += _tables(*_worst_table(table, n_worst), console)
    parts += [*_tables(*_summary_table(table, summary), console), Text(_meanings(table.measures), style="dim")]
    if any(line.lesions for line in summary):
        parts += [Text(), *_tables(*_lesion_table(table, summary), console)]
    console.print(Group(*parts), soft_wrap=not console.is_terminal)


def show_paired(
    lines: Sequence[Paired], how: Bootstrap, pred: Path | str, against: Path | str, console: Console | None = None
) -> None:
    """Show the differences per label and metric, and say what those of Dice mean."""
    console = console or Console()
    columns = ("name", "metric", "this", "other", "difference", "better\n: worse", "p (Holm)", "shown")
    rows = []
    for line in lines:
        digits = COLUMNS[line.column].digits
        means = (shown(v, digits) for v in (line.mean, line.against))
        difference = stacked(Estimate(line.difference, line.low, line.high), digits)
        won, p = f"{line.wins} : {line.losses}", shown(line.p_holm, 3)
        found = verdict(line, how.level)
        rows.append((line.label, COLUMNS[line.column].heading, *means, difference, won, p, found))
    said = (Text(sentence(line, how.level)) for line in lines if line.column == "dice")
    parts = Group(*_tables(f"{pred}, less {against}", columns, rows, console), *said)
    console.print(parts, soft_wrap=not console.is_terminal)


def shown(value: float | None, digits: int) -> str:
    """A number in a table for people: a dash for what was not measured or is not defined."""
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:,.{digits}f}"


def stacked(found: Estimate, digits: int, joint: str = " to ") -> str:
    """A value above its interval; `joint` stands between the ends of that."""
    if math.isnan(found.value):
        return "–"
    return f"{shown(found.value, digits)}\n{shown(found.low, digits)}{joint}{shown(found.high, digits)}"


def _meanings(measures: Measures) -> str:
    """What the columns of the means are, on a line or two."""
    said = {
        "dice": "Dice, overlap from 0 to 1",
        "nsd": "NSD, share of the surfaces within the tolerance",
        "hd95_mm": "HD95, mm within which 95 % of the surfaces lie",
        "assd_mm": "ASSD, their mean distance in mm",
    }
    columns = "; ".join(text for column, text in said.items() if column in measures.columns())
    return f"{columns}; one-sided: cases with the label in the prediction alone, in the reference alone"


Rows = list[tuple[str, ...]]


def _summary_table(table: ScoreTable, summary: Sequence[LabelSummary]) -> tuple[str, Sequence[str], Rows]:
    alone = f" with a prediction ({len(table.left_out)} without)" if table.left_out else ""
    title = f"Mean over {table.n_scored} of {table.n_references} references{alone}, with its interval"
    columns = [c for c in table.measures.columns() if c not in ("f1", "diff_mm3", "asd_mm")]
    rows: Rows = []
    for line in summary:
        # tenths of a mm: the table fits into 80 columns
        cells = (stacked(line.averages[c].mean, 1 if c.endswith("_mm") else 3, "–") for c in columns)
        rows.append((line.name, str(line.averages["dice"].n), *cells, f"{line.only_pred}, {line.only_ref}"))
    return title, ["name", "cases", *(COLUMNS[c].heading for c in columns), "one-sided"], rows


def _lesion_table(table: ScoreTable, summary: Sequence[LabelSummary]) -> tuple[str, Sequence[str], Rows]:
    title = f"Lesions (components found at an intersection over union of {table.measures.lesion_iou:g})"
    rows: Rows = []
    for line in summary:
        if line.lesions:
            n = line.lesions
            counts = map(str, (n.ref_lesions, n.pred_lesions, n.tp, n.fp, n.fn))
            rows.append((line.name, *counts, *(stacked(e, 2, "–") for e in (n.precision, n.recall, n.f1))))
    return title, ["name", "true", "marked", "found", "false", "missed", "precision", "recall", "F1"], rows


def _worst_table(table: ScoreTable, n: int) -> tuple[str, Sequence[str], Rows]:
    rows: Rows = [
        (score.case_id, score.name, f"{score.dice:.3f}", f"{score.pred_mm3:,.0f}", f"{score.ref_mm3:,.0f}")
        for score in table.worst(n)
    ]
    return "Lowest Dice", ["case", "name", "Dice", "prediction\nmm³", "reference\nmm³"], rows


def _tables(title: str, columns: Sequence[str], rows: Rows, console: Console) -> list[RenderableType]:
    """One table, or one for each name where that has not the room; numbers of a narrower console go beyond it.

    What is no terminal gets a line a row.
    """
    if not console.is_terminal:
        headings = [column.replace("\n", " ") for column in columns]
        return [Text(f"{title}\n{plain_table(headings, [list(map(_on_one_line, row)) for row in rows])}\n")]
    made = fitting_table(title, columns, rows, console)
    if made is not None:
        return [made]
    at, parts = columns.index("name"), list[RenderableType]([Text(title)])
    for name in dict.fromkeys(row[at] for row in rows):
        own = [(*row[:at], *row[at + 1 :]) for row in rows if row[at] == name]
        others = [*columns[:at], *columns[at + 1 :]]
        parts.append(fitting_table(name, others, own, console) or Text("\n".join(map("  ".join, own))))
    return parts


def _on_one_line(cell: str) -> str:
    """A cell, with the interval that stands below its value beside it."""
    value, _, interval = cell.partition("\n")
    return f"{value} ({interval})" if interval else value


def _problems(table: ScoreTable) -> Text:
    if not table.problems:
        return Text("Every reference was scored.")
    title = (
        f"{counted(len(table.left_out), 'reference')} without a prediction left out: cases=predicted"
        if table.left_out and not table.n_unscored
        else f"{table.n_unscored} references not scored ({len(table.missing)} of them without a prediction)"
    )
    return Text(f"{title}\n{problems_table(table.problems)}", style="red" if table.errors else "")


def _of_cases(path: Path) -> list[Score]:
    rows = read_cases(path)
    labels = list(dict.fromkeys(row.label for row in rows))
    unknown = Score("", 0, "", math.nan, *(None,) * 4, *(math.nan,) * 3, -1, -1, *(None,) * 8)
    return [
        replace(
            unknown,
            case_id=row.case,
            label=labels.index(row.label) - len(labels),
            name=row.label,
            dice=row.dice,
            nsd=row.nsd,
            pred_mm3=row.pred_mm3,
            ref_mm3=row.ref_mm3,
            diff_mm3=row.pred_mm3 - row.ref_mm3,
        )
        for row in rows
    ]


def _parsed(name: str, cell: str | None) -> Any:
    if name in _TEXT:
        return cell or ""
    parse: Callable[[str], Any] = int if name in (*_WHOLE, *_COUNTS) else float
    if cell:
        return parse(cell)
    # Dice is measured of every row; an empty cell of another column may be either, and counts for nothing both ways
    return math.nan if name == "dice" else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([_cell(value) for value in astuple(row)] for row in rows)


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
