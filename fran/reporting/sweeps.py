"""A sweep as a picture: the value of each trial, and the best so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from fran.errors import DataError
from fran.io.files import atomic_path
from fran.labels.colours import COLOURS


def best_so_far_png(
    values: Sequence[float], early: Sequence[bool], path: Path | str, metric: str, largest: bool = True
) -> Path:
    """Draw the values of trials in the order in which they ended.

    Args:
        values: one a trial, NaN for one without.
        early: whether it was stopped before its end; drawn hollow.
        path: PNG to write.
        metric: name of the axis.
        largest: whether larger values are better.

    Raises:
        DataError: no trial has a value.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not any(map(math.isfinite, values)):
        raise DataError("sweep: expected a trial with a value, found none")
    figure = Figure(figsize=(8, 4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    numbers = range(1, len(values) + 1)
    for hollow, name in ((False, "trial"), (True, "stopped early")):
        of = [(n, v) for n, v, e in zip(numbers, values, early, strict=True) if e == hollow and math.isfinite(v)]
        if of:
            ax.plot(*zip(*of, strict=True), "o", color=COLOURS[6], fillstyle="none" if hollow else "full", label=name)
    ax.step(numbers, running_best(values, largest), where="post", color="black", label="best so far")
    ax.set_xlabel("trials that have ended")
    ax.set_ylabel(metric)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend()
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None}, format="png")
    return path


def running_best(values: Sequence[float], largest: bool = True) -> list[float]:
    """The best value up to each, NaN before the first.

    Example:
        >>> running_best([0.2, 0.1, float("nan"), 0.4])
        [0.2, 0.2, 0.2, 0.4]
    """
    best, found = math.nan, []
    for value in values:
        if math.isfinite(value) and (math.isnan(best) or (value > best) == largest):
            best = value
        found.append(best)
    return found
