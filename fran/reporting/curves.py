"""One picture of how a training went: loss and learning rate, and Dice of each label."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import DataError
from fran.io.files import atomic_path
from fran.labels.colours import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DICE = "val/dice"
Columns = dict[str, list[float]]


def curves_png(metrics: Path | str, path: Path | str) -> Path:
    """Draw the columns of a run's metrics.csv over its epochs.

    Args:
        metrics: the csv, one row an epoch; cells of epochs that were not validated are empty.
        path: PNG to write.

    Raises:
        DataError: no such file, or one without rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = read_metrics(metrics)
    figure = Figure(figsize=(11, 4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    loss, dice = figure.subplots(1, 2, sharex=True)
    _draw_loss(loss, columns)
    _draw_dice(dice, columns)
    for ax in (loss, dice):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None}, format="png")
    return path


def read_metrics(metrics: Path | str) -> Columns:
    """Columns of a metrics.csv, a value an epoch; NaN where nothing was measured.

    Raises:
        DataError: no such file, one without rows, or not a table of numbers.
    """
    metrics = Path(metrics)
    if not metrics.is_file():
        raise DataError(f"metrics: expected the metrics.csv of a run, found no file {metrics}")
    with metrics.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise DataError(f"metrics: expected a row for each epoch in {metrics}, found none")
    if "epoch" not in rows[0]:
        raise DataError(f"metrics: expected a column called epoch in {metrics}, found {', '.join(map(str, rows[0]))}")
    try:
        return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}
    except (TypeError, ValueError) as error:
        raise DataError(f"metrics: expected numbers in {metrics}, found something else ({error})") from error


def points(columns: Columns, name: str) -> tuple[list[float], list[float]]:
    """Epochs and values of a metric where it was measured."""
    pairs = [(x, y) for x, y in zip(columns["epoch"], columns.get(name, ()), strict=False) if math.isfinite(y)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _draw_loss(ax: Axes, columns: Columns) -> None:
    ax.plot(*points(columns, "train/loss"), color=COLOURS[6])
    ax.set_ylabel("training loss", color=COLOURS[6])
    rate = ax.twinx()
    rate.plot(*points(columns, "train/lr"), color="0.6", linewidth=1, linestyle="--")
    rate.set_ylabel("learning rate", color="0.4")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))


def _draw_dice(ax: Axes, columns: Columns) -> None:
    labels = [name for name in columns if name.startswith(f"{DICE}_")]
    named = len(labels) <= len(COLOURS)
    for number, name in enumerate(labels):
        style: dict[str, Any] = {"color": "0.8"}
        if named:
            style = {"color": COLOURS[number], "label": name.removeprefix(f"{DICE}_"), "marker": "."}
        epochs, values = points(columns, name)
        ax.plot(epochs, values, **style)
    ax.plot(*points(columns, DICE), color="black", linewidth=2, label=f"mean of {len(labels)} labels")
    ax.set_ylim(0, 1)
    ax.set_ylabel("validation Dice")
    ax.legend(fontsize=8, loc="lower right")
