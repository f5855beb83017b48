"""`fran score`: predictions against references, and against other predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import CaseProblem, CasesFailed, SettingProblem, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.schema import ScoreConfig, label_names
from fran.workflows.terminal import answer_console, counting, say_json

if TYPE_CHECKING:
    from fran.evaluation.intervals import Bootstrap
    from fran.evaluation.measures import Score
    from fran.evaluation.paired import Paired
    from fran.evaluation.scoring import ScoreTable
    from fran.evaluation.summary import LabelSummary
    from fran.reporting.scores_page import Comparison, Picture

TABLE = ".csv"
ALL, PREDICTED = "all", "predicted"
log = logging.getLogger("fran.score")


@dataclass(frozen=True)
class Side:
    """One of the predictions that are compared: their rows, and what stands behind them where they were measured."""

    scores: Sequence[Score]
    table: ScoreTable | None

    @property
    def errors(self) -> tuple[CaseProblem, ...]:
        """What kept references from being scored."""
        return self.table.errors if self.table else ()


@dataclass(frozen=True)
class Scores:
    """What scoring found.

    Attributes:
        tables: of the predictions, and of those they are compared with, as far as they were measured now and not read
            from a table.
        summary: a line a label, and one for all where there are several: means with their intervals over cases.
        comparison: with other predictions; None where there were none.
        files: what was written.
        how: the intervals were computed.
    """

    tables: tuple[ScoreTable, ...]
    summary: Sequence[LabelSummary]
    comparison: Comparison | None
    files: Sequence[Path]
    how: Bootstrap
    measured: bool = True

    @property
    def table(self) -> ScoreTable | None:
        """Of the predictions, with rows, worst cases and problems; None where a table of scores was given."""
        return self.tables[0] if self.measured else None

    @property
    def rows(self) -> tuple[Score, ...]:
        """One a case and label, where predictions were measured: Dice from 0 to 1, distances in mm, volumes in mm³."""
        return self.table.scores if self.table else ()

    @property
    def paired(self) -> tuple[Paired, ...]:
        """Differences from the other predictions, one a label and metric; empty where there are none."""
        return tuple(self.comparison.lines) if self.comparison else ()

    @property
    def errors(self) -> tuple[CaseProblem, ...]:
        """What kept references from being scored, on either side."""
        return tuple(error for table in self.tables for error in table.errors)

    def say_files(self) -> None:
        """Log what was written where."""
        log.info("written to %s: %s", self.files[0].parent, ", ".join(path.name for path in self.files))

    def raise_for_errors(self) -> None:
        """Refuse to go on where references have no score.

        Raises:
            CasesFailed: naming each of them.
        """
        if self.errors:
            n, of = (sum(getattr(table, name) for table in self.tables) for name in ("n_unscored", "n_references"))
            raise CasesFailed(f"{n} of {of} references could not be scored", self.errors)


def score(job: Job[ScoreConfig]) -> None:
    """Score, compare, show the tables and write them; references without a score are an error at the end."""
    found, config = scores_of(job), job.config
    if config.json:
        _say_json(found, config)
    else:
        _show(found, config)
    found.say_files()
    found.raise_for_errors()


def scores_of(job: Job[ScoreConfig]) -> Scores:
    """Score, compare, and write what was found.

    Raises:
        CasesFailed: none of the references could be scored; nothing was written.
    """
    from fran.evaluation.intervals import Bootstrap
    from fran.evaluation.report import write_scores
    from fran.evaluation.summary import summarise
    from fran.reporting.scores_page import write_scores_page

    config = job.config
    how = Bootstrap(config.level, config.samples, config.seed)
    folder = Path(config.output or (config.pred if not _is_table(config.pred) else Path(config.pred).parent))
    ours = _side(config, config.pred, "score")
    theirs = _side(config, config.against, "score against") if config.against else None
    for side in (ours, theirs):
        if side and side.table and not side.scores:
            title = f"none of {side.table.n_references} references could be scored; nothing was written"
            raise CasesFailed(title, side.errors)
    summary = summarise(ours.scores, ours.table.measures, how) if ours.table else []
    written: list[Path] = []
    if ours.table:
        written += write_scores(ours.table, summary, how, folder)
    comparison = None
    if theirs:
        comparison, files = _compare(config, ours, theirs, how, folder)
        written += files
    pictures = _pictures(config, ours.table) if ours.table else []
    page = folder / ("scores.html" if ours.table else "paired.html")
    written.append(write_scores_page(page, how, ours.table, summary, pictures, comparison))
    tables = tuple(side.table for side in (ours, theirs) if side and side.table)
    return Scores(tables, summary, comparison, written, how, ours.table is not None)


def _show(found: Scores, config: ScoreConfig) -> None:
    from fran.evaluation.report import show_paired, show_scores

    console = answer_console()
    if found.table:
        show_scores(found.table, found.summary, console)
    if found.comparison:
        show_paired(found.paired, found.how, config.pred, found.comparison.against, console)


def _say_json(found: Scores, config: ScoreConfig) -> None:
    from fran.evaluation.report import as_dict, paired_dict

    scores = as_dict(found.table, found.summary, found.how) if found.table else None
    against = found.comparison.against if found.comparison else None
    paired = paired_dict(found.paired, found.how, config.pred, against) if against else None
    say_json({"scores": scores, "paired": paired, "files": found.files})


def check(config: ScoreConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    from fran.evaluation.measures import check_metrics

    found = []
    unknown = check_metrics(config.metrics)
    if unknown:
        found.append(SettingProblem("metrics", config.metrics, unknown))
    folders = [p for p in (config.pred, config.against) if p and not _is_table(p)]
    if config.gt is None and folders:
        found.append(SettingProblem("gt", None, f"the folder of references to score {folders[0]} against"))
    if config.against is None and _is_table(config.pred):
        expected = "a folder of label maps; or add against=, to compare this table with another"
        found.append(SettingProblem("pred", config.pred, expected))
    for key, good, expected in (
        ("cases", config.cases in (ALL, PREDICTED), choices(config.cases, [ALL, PREDICTED])),
        ("lesion_iou", 0 <= config.lesion_iou <= 1, "a share from 0 (any common voxel) to 1"),
        ("level", 0 < config.level < 1, "a coverage between 0 and 1, such as 0.95"),
        ("samples", config.samples >= 1, "1 or more"),
        ("pictures", config.pictures >= 0, "0 or more"),
        ("images", config.images is None or Path(config.images).is_dir(), "a folder of images, or null"),
        ("num_processes", config.num_processes >= 1 or config.num_processes == -1, "1 or more, or -1 for all that fit"),
    ):
        if not good:
            found.append(SettingProblem(key, getattr(config, key), expected))
    return found


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLE)


def _side(config: ScoreConfig, pred: str, title: str) -> Side:
    from fran.evaluation.measures import Measures
    from fran.evaluation.report import read_scores
    from fran.evaluation.scoring import score_folder

    if _is_table(pred):
        return Side(read_scores(pred), None)
    assert config.gt is not None
    measures = Measures(tuple(dict.fromkeys(config.metrics)), lesion_iou=config.lesion_iou)
    with counting(title) as on_case:
        table = score_folder(
            pred,
            config.gt,
            label_names(config.labels),
            on_case,
            config.datasource,
            measures=measures,
            nsd_mm=config.nsd_mm,
            num_processes=config.num_processes,
            predicted_only=config.cases == PREDICTED,
        )
    return Side(table.scores, table)


def _pictures(config: ScoreConfig, table: ScoreTable) -> list[Picture]:
    from fran.reporting.scores_page import draw_worst

    with counting("pictures", "picture") as on_picture:
        return draw_worst(table, config.pictures, config.images, on_picture, config.num_processes)


def _compare(
    config: ScoreConfig, ours: Side, theirs: Side, how: Bootstrap, folder: Path
) -> tuple[Comparison, tuple[Path, Path]]:
    from fran.evaluation.measures import COLUMNS
    from fran.evaluation.paired import compare
    from fran.evaluation.report import write_paired
    from fran.reporting.scores_page import Comparison

    assert config.against is not None
    lines = compare(ours.scores, theirs.scores, [name for name, m in COLUMNS.items() if m.better], how)
    return Comparison(config.against, lines), write_paired(lines, how, folder, config.pred, config.against)


def main() -> None:
    """Entry of `fran score` and scripts/score.py."""
    run_verb("score", ScoreConfig, score, check)
