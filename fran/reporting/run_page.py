"""The page of one run: how the training went, what it is worth case by case, and what it was made from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fran.errors import DataError, FranError
from fran.evaluation.cross_validation import OVERALL, FoldScores, summarise_folds
from fran.evaluation.intervals import Bootstrap
from fran.io.case_table import FILE as CASES
from fran.io.case_table import CaseScore, read_cases
from fran.io.files import read_json
from fran.reporting.charts import STYLES, Chart, Series, figure, line_chart
from fran.reporting.curves import DICE, Columns, points, read_metrics
from fran.reporting.embed import Embedded, embed
from fran.reporting.page import Cell, Table, number, text, write_page

#: Rows of a table; the rest is in the run's files.
MAX_ROWS = 600
MAX_PICTURES = 8
_VALIDATION = re.compile(r"epoch_(\d+)\.csv")
_WORST = re.compile(r"worst_(\d+)_(.+)_epoch_(\d+)\.png")
_LATEST = re.compile(r"epoch_(\d+)_(.+)\.png")
T = TypeVar("T")


@dataclass
class RunFiles:
    """What a run folder holds; what is not there is empty, what cannot be read is in `problems`.

    Attributes:
        folder: of the run.
        metrics: columns of metrics.csv.
        cases: rows of cases.csv, those of the best validation.
        validations: rows of each table in validation/, by epoch.
        alarms: of alarms.json.
        overrides: of overrides.json.
        pictures: of overlays/, the worst cases first.
        problems: in words.
    """

    folder: Path
    metrics: Columns = field(default_factory=dict)
    cases: list[CaseScore] = field(default_factory=list)
    validations: dict[int, list[CaseScore]] = field(default_factory=dict)
    alarms: list[Mapping[str, Any]] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    pictures: list[Embedded] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Everything of a run folder that a page shows."""
        found = cls(folder)
        found.metrics = found._read(folder / "metrics.csv", read_metrics, {})
        found.cases = found._read(folder / CASES, read_cases, [])
        none: list[Any] = []
        found.alarms = [r for r in found._read(folder / "alarms.json", _list, none) if isinstance(r, Mapping)]
        found.overrides = [str(word) for word in found._read(folder / "overrides.json", _list, none)]
        for path in sorted((folder / "validation").glob("epoch_*.csv")):
            if match := _VALIDATION.fullmatch(path.name):
                found.validations[int(match[1])] = found._read(path, read_cases, [])
        found._draw()
        return found

    def _read(self, path: Path, read: Callable[[Path], T], otherwise: T) -> T:
        if not path.is_file():
            return otherwise
        try:
            return read(path)
        except (FranError, OSError, UnicodeError) as error:
            self.problems.append(str(error))
            return otherwise

    def _draw(self) -> None:
        folder = self.folder / "overlays"
        worst = [(int(m[1]), m, p) for p in sorted(folder.glob("worst_*.png")) if (m := _WORST.fullmatch(p.name))]
        latest = [(int(m[1]), m, p) for p in sorted(folder.glob("epoch_*.png")) if (m := _LATEST.fullmatch(p.name))]
        ways = [(f"{rank}. lowest: {m[2]}", m[2], int(m[3]), p) for rank, m, p in sorted(worst, key=lambda row: row[0])]
        ways += [(f"example: {m[2]}", m[2], epoch, p) for epoch, m, p in latest[-1:]]
        for title, case, epoch, path in ways[:MAX_PICTURES]:
            said = dice_of(case, self.validations.get(epoch) or self.cases)
            alt = f"Three slices of {case} after epoch {epoch}: prediction filled, reference outlined. {said}"
            try:
                self.pictures.append(embed(path, alt, title, f"epoch {epoch}; {said}"))
            except DataError as error:
                self.problems.append(str(error))


def _list(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a list, found {type(content).__name__}")
    return content


def dice_of(case: str, rows: Sequence[CaseScore]) -> str:
    """Dice of a case's labels, in words."""
    said = [f"{row.label} {number(row.dice, 3).shown}" for row in rows if row.case == case]
    return f"Dice: {', '.join(said)}" if said else "no Dice known"


def write_run_page(
    path: Path | str,
    run: RunFiles,
    facts: Sequence[tuple[str, str]],
    commands: Sequence[tuple[str, str]],
    plan: Sequence[tuple[str, str]],
    settings: Sequence[tuple[str, str]],
    how: Bootstrap,
) -> Path:
    """Write the page.

    Args:
        path: HTML file to write.
        run: its files.
        facts: what stands at the top, and where it comes from.
        commands: what to do with the run, and how to type it.
        plan: resolved keys.
        settings: everything else that was resolved, dotted keys.
        how: intervals are made.
    """
    rows = sorted(run.cases, key=lambda s: (np.nan_to_num(s.dice, nan=2), s.case, s.label))
    return write_page(
        path,
        "run.html",
        title=f"Run {run.folder.name}",
        facts=facts,
        problems=run.problems,
        alarms=[_alarm(row) for row in run.alarms],
        curves=curves(run),
        epochs=_epochs(run.metrics) if run.metrics else None,
        labels=_labels(run, how) if run.cases else None,
        level=f"{100 * how.level:g} %",
        pictures=run.pictures,
        cases=_cases(rows[:MAX_ROWS]) if rows else None,
        left_out=max(0, len(rows) - MAX_ROWS),
        commands=commands,
        plan=_keys("The plan, with every value as it was resolved", plan) if plan else None,
        settings=_keys("Network, training, augmentation and tracking", settings) if settings else None,
        overrides=run.overrides,
    )


def curves(run: RunFiles) -> list[Chart]:
    """Charts of the training; those without any value are left out."""
    columns = run.metrics
    dice = [name for name in columns if name.startswith(f"{DICE}_")]
    nsd = [name for name in columns if name.startswith("val/nsd_")]
    spread = _spread(run.validations)
    share = {"bounds": (0.0, 1.0), "marks": True}
    charts = [
        line_chart("Training loss", [_series(columns, "train/loss", "loss")], "epoch"),
        line_chart("Dice of each label", _mean_last(columns, dice, DICE), "epoch", **share),  # type: ignore[arg-type]
        line_chart("Surface Dice of each label", _mean_last(columns, nsd, "val/nsd"), "epoch", **share),  # type: ignore[arg-type]
        line_chart("Dice over cases", spread, "epoch", **share),  # type: ignore[arg-type]
        line_chart("Learning rate", [_series(columns, "train/lr", "rate")], "epoch"),
        line_chart(
            "Share of time spent waiting for data", [_series(columns, "train/data_wait_share", "share")], "epoch"
        ),
        line_chart("Patches per second", [_series(columns, "train/patches_per_s", "patches per second")], "epoch"),
    ]
    return [chart for chart in charts if "no values" not in chart.svg]


def _series(columns: Columns, name: str, shown: str) -> Series:
    known = points(columns, name) if columns else ([], [])
    return Series(shown, list(zip(*known, strict=True)))


def _mean_last(columns: Columns, names: Sequence[str], mean: str) -> list[Series]:
    """A line a label, and their mean where there are several; the mean alone where there are too many to tell apart."""
    each = [_series(columns, name, name.removeprefix(f"{mean}_")) for name in names]
    if len(each) == 1:
        return each
    return [*(each if len(each) < STYLES else []), _series(columns, mean, f"mean of {len(each)} labels")]


def _spread(validations: Mapping[int, Sequence[CaseScore]]) -> list[Series]:
    """Best, middle and worst case of each validation, each with its mean over labels."""
    lines: dict[str, list[tuple[float, float]]] = {"best case": [], "median": [], "worst case": []}
    for epoch, rows in sorted(validations.items()):
        of_case: dict[str, list[float]] = {}
        for row in rows:
            if not math.isnan(row.dice):
                of_case.setdefault(row.case, []).append(row.dice)
        means = [float(np.mean(values)) for values in of_case.values()]
        if len(means) > 1:
            for name, value in zip(lines, (max(means), float(np.median(means)), min(means)), strict=True):
                lines[name].append((epoch, value))
    return [Series(name, made) for name, made in lines.items()]


def _alarm(row: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(row.get(key, "")) for key in ("name", "subject", "seen", "cause", "remedy", "epoch")}


def _epochs(columns: Columns) -> Table:
    """Validated epochs, or every one where none was."""
    wanted = [i for i, value in enumerate(columns.get(DICE, ())) if not math.isnan(value)]
    wanted = wanted or list(range(len(columns["epoch"])))
    names = [n for n in columns if n not in ("epoch", "step") and not n.startswith("val/n_")]
    names = [n for n in names if not all(math.isnan(columns[n][i]) for i in wanted)]
    rows = [[number(columns["epoch"][i]), *(_figure(columns[name][i]) for name in names)] for i in wanted[-MAX_ROWS:]]
    return Table("Validated epochs, as in metrics.csv", ["epoch", *names], rows)


def _figure(value: float) -> Cell:
    return Cell(figure(value), value, number=True) if math.isfinite(value) else number(value)


def _labels(run: RunFiles, how: Bootstrap) -> Table:
    one = FoldScores(0, run.folder.name, tuple(run.cases))
    found = summarise_folds([one], how.level, how.samples, how.seed).results
    metrics = list(dict.fromkeys(result.metric for result in found))
    header = ["label", "cases"]
    for metric in metrics:
        header += [f"mean {_NAMES.get(metric, metric)}", "median", "lowest"]
    rows: list[list[Cell]] = []
    for label in dict.fromkeys(result.label for result in found):
        mine = {result.metric: result for result in found if result.label == label}
        cells = [text("mean over labels" if label == OVERALL else label), number(mine["dice"].n)]
        for metric in metrics:
            result = mine.get(metric)
            values = _values(run.cases, label, metric)
            interval = f"{number(result.low, 3).shown} to {number(result.high, 3).shown}" if result else ""
            cells.append(number(result.mean if result else None, 3, interval))
            cells += [number(float(f(values)), 3) if values else number(None) for f in (np.median, np.min)]
        rows.append(cells)
    return Table("Cases of the best validation, with the interval of the mean", header, rows)


_NAMES = {"dice": "Dice", "nsd": "NSD"}


def _values(rows: Sequence[CaseScore], label: str, metric: str) -> list[float]:
    """Values of a label over cases; over labels, the mean of each case."""
    if label != OVERALL:
        found = [getattr(row, metric) for row in rows if row.label == label]
        return [value for value in found if not math.isnan(value)]
    of_case: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(getattr(row, metric)):
            of_case.setdefault(row.case, []).append(getattr(row, metric))
    return [float(np.mean(values)) for values in of_case.values()]


def _cases(rows: Sequence[CaseScore]) -> Table:
    header = ["case", "label", "Dice", "NSD", "prediction mm³", "reference mm³", "difference mm³"]
    made = [
        [
            text(row.case),
            text(row.label),
            number(row.dice, 3),
            number(row.nsd, 3),
            *(number(value) for value in (row.pred_mm3, row.ref_mm3, row.pred_mm3 - row.ref_mm3)),
        ]
        for row in rows
    ]
    return Table("One row a case and label of the best validation, lowest Dice first", header, made, filter=1)


def _keys(caption: str, pairs: Sequence[tuple[str, str]]) -> Table:
    return Table(caption, ["key", "value"], [[text(key), text(value)] for key, value in pairs])
