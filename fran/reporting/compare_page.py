"""The page of a comparison: the same cases by several runs, and in what these runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.evaluation.intervals import Bootstrap
from fran.evaluation.measures import COLUMNS, Score
from fran.evaluation.paired import Paired, sentence, verdict
from fran.reporting.charts import Chart, box_plot
from fran.reporting.page import Table, text, write_page
from fran.reporting.scores_page import paired_table

#: Labels whose Dice is drawn; all are in the tables.
MAX_CHARTS = 12


@dataclass(frozen=True)
class Side:
    """One of what is compared: its name, where its scores were read, and the scores."""

    name: str
    path: Path
    scores: Sequence[Score]


def write_compare_page(
    path: Path | str,
    sides: Sequence[Side],
    compared: Sequence[Sequence[Paired]],
    settings: Mapping[str, Sequence[Sequence[str]]] | None,
    how: Bootstrap,
) -> Path:
    """Write the page.

    Args:
        path: HTML file to write.
        sides: two or more; the first is compared with each of the others.
        compared: the first less each of the others.
        settings: stage by stage, rows of key and value of each side, of keys that differ; None where a side has no
            settings.
        how: intervals are made.
    """
    first, *others = sides
    pairs = [
        {
            "other": other.name,
            "meanings": [
                (verdict(line, how.level), sentence(line, how.level)) for line in lines if line.column == "dice"
            ],
            "table": paired_table(lines, how, f"{first.name} less {other.name}, case by case"),
        }
        for other, lines in zip(others, compared, strict=True)
    ]
    header = ["key", *(side.name for side in sides)]
    stages = [(stage, _settings(stage, header, rows)) for stage, rows in (settings or {}).items()]
    return write_page(
        path,
        "compare.html",
        title=f"{first.name} and {', '.join(other.name for other in others)}",
        facts=[(side.name, f"{len({s.case_id for s in side.scores})} cases, {side.path}") for side in sides],
        first=first.name,
        level=f"{100 * how.level:g} %",
        pairs=pairs,
        charts=_charts(sides),
        stages=stages,
        known=settings is not None,
    )


def _settings(stage: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table | None:
    """What differs of a stage's settings, if anything does."""
    if not rows:
        return None
    return Table(f"{stage}: settings that differ", header, [[text(cell) for cell in row] for row in rows])


def _charts(sides: Sequence[Side]) -> list[Chart]:
    """Dice of each label over the cases that all have."""
    shared = set.intersection(*({s.case_id for s in side.scores} for side in sides))
    labels = [n for n in dict.fromkeys(s.name for s in sides[0].scores) if all(n in _names(side) for side in sides)]
    made = []
    for label in labels[:MAX_CHARTS]:
        groups = [
            (side.name, [s.dice for s in side.scores if s.name == label and s.case_id in shared]) for side in sides
        ]
        made.append(box_plot(f"Dice of {label}", groups, COLUMNS["dice"].title))
    return made


def _names(side: Side) -> set[str]:
    return {score.name for score in side.scores}
