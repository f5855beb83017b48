"""scores.html: what a scoring and a comparison found, worst cases first, with pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fran.errors import FranError, problems_table
from fran.evaluation.intervals import Bootstrap
from fran.evaluation.measures import COLUMNS, LESIONS, Score
from fran.evaluation.paired import Paired, sentence, verdict
from fran.evaluation.scoring import ScoreTable, processes_for
from fran.evaluation.summary import Estimate, LabelSummary
from fran.io.files import read_json
from fran.io.volume import EXTENSIONS, read_volume, stem
from fran.labels import Remapping
from fran.parallel.jobs import Failure
from fran.parallel.local import run_jobs
from fran.reporting.page import Cell, Markup, Table, number, text, write_page
from fran.reporting.slices import slice_svg

#: Rows in the page's table; the rest is in scores.csv.
MAX_ROWS = 1000
_IMAGES = {"lms": "images", "labelsTr": "imagesTr", "labelsTs": "imagesTs"}

log = logging.getLogger("fran.score")


@dataclass(frozen=True)
class Picture:
    """A row of the scores with a slice: which, its figures, and where the slice lies."""

    title: str
    figures: str
    where: str
    svg: Markup


@dataclass(frozen=True)
class Comparison:
    """What a comparison found, and with what."""

    against: str
    lines: Sequence[Paired]


def write_scores_page(
    path: Path | str,
    how: Bootstrap,
    table: ScoreTable | None = None,
    summary: Sequence[LabelSummary] = (),
    pictures: Sequence[Picture] = (),
    comparison: Comparison | None = None,
    title: str = "Scores",
) -> Path:
    """Write the page.

    Args:
        path: HTML file to write.
        how: intervals were made.
        table: scores; None where two tables were compared that were measured before.
        summary: of the table.
        pictures: in the order in which they are shown.
        comparison: with other predictions.
        title: of the page.
    """
    rows = _sorted(table.scores) if table else []
    lines = comparison.lines if comparison else ()
    return write_page(
        path,
        "scores.html",
        title=title,
        facts=_facts(table, how) if table else [],
        problems=_problems(table) if table else [],
        against=comparison.against if comparison else "",
        meanings=[(verdict(x, how.level), sentence(x, how.level)) for x in lines if x.column == "dice"],
        paired=paired_table(lines, how) if lines else None,
        summary=_summary(table, summary) if table else None,
        lesions=_lesions(table, summary) if table and LESIONS in table.measures.metrics else None,
        pictures=pictures,
        rows=_rows(table, rows[:MAX_ROWS]) if table and rows else None,
        left_out=max(0, len(rows) - MAX_ROWS),
    )


@dataclass(frozen=True)
class DrawJob:
    """A row of the scores to draw, in this or another process.

    Attributes:
        score: the row.
        pred, ref: files.
        image: file of the image; None: the outlines stand alone.
        translation: of the reference's values, where they are raw ones.
    """

    score: Score
    pred: Path
    ref: Path
    image: Path | None
    translation: Remapping | None


def draw_worst(
    table: ScoreTable,
    n: int,
    images: Path | str | None = None,
    on_picture: Callable[[int, int], None] | None = None,
    num_processes: int = 1,
) -> list[Picture]:
    """Pictures of the `n` rows with the lowest Dice, worst first.

    Args:
        table: of scores.
        n: rows.
        images: folder of the images, with the references' names; by default images/ beside lms/, where there is one,
            else the image that the json beside a prediction says it was made from.
        on_picture: called with (pictures done, pictures in all).
        num_processes: see `score_folder`.
    """
    folder = Path(images) if images else _images_beside(table.gt)
    jobs = [
        DrawJob(score, pred, ref, _image_of(ref, folder) or _image_predicted(pred), table.translation)
        for score in table.worst(n)
        for pred, ref in [table.files[score.case_id]]
    ]
    drawn: dict[int, Picture] = {}
    if on_picture is not None:
        on_picture(0, len(jobs))
    processes = processes_for([job.ref for job in jobs], num_processes)
    for done, (index, result) in enumerate(run_jobs(draw, jobs, processes), start=1):
        if isinstance(result, Failure):
            log.warning("%s was not drawn: %s", jobs[index].score.case_id, result.message)
        else:
            drawn[index] = result
        if on_picture is not None:
            on_picture(done, len(jobs))
    return [drawn[index] for index in sorted(drawn)]


def draw(job: DrawJob) -> Picture:
    """The middle slice of a row's label with the outlines of reference and prediction.

    Raises:
        DataError: a label map cannot be read. An image that cannot be read, or is not on their grid, is left out.
    """
    pred, ref = read_volume(job.pred, role="lm"), read_volume(job.ref, role="lm")
    values = ref.array if job.translation is None else job.translation.apply(ref.array)
    masks = {"reference": values == job.score.label, "prediction": pred.array == job.score.label}
    title = f"{job.score.case_id}, {job.score.name}"
    image, lacking = None, ", no image found"
    if job.image is not None:
        try:
            image = read_volume(job.image).array
        except FranError:
            lacking = ", the image cannot be read"
        if image is not None and image.shape != values.shape:
            image, lacking = None, ", the image has another shape"
    found = slice_svg(image, masks, ref.grid.spacing_mm, f"{title}: outlines of reference and prediction")
    where = f"{found.view} slice {found.index}{'' if image is not None else lacking}"
    return Picture(title, _figures(job.score), where, Markup(found.svg))


def _images_beside(gt: Path) -> Path | None:
    """The images of a folder whose lms/, labelsTr/ or labelsTs/ were scored, where there are any beside these."""
    folder = gt.parent / _IMAGES[gt.name] if gt.name in _IMAGES else gt / "images"
    return folder if folder.is_dir() else None


def _image_of(ref: Path, folder: Path | None) -> Path | None:
    names = [f"{stem(ref)}{channel}{ending}" for channel in ("", "_0000") for ending in EXTENSIONS]
    candidates = (folder / name for name in names) if folder else ()
    return next((path for path in candidates if path.is_file()), None)


def _image_predicted(pred: Path) -> Path | None:
    """The image that a prediction was made from, where its json says so and it is still there."""
    with suppress(FranError, KeyError, TypeError):
        path = Path(read_json(pred.with_name(f"{stem(pred)}.json"))["input"]["path"])
        return path if path.is_file() else None
    return None


def _figures(score: Score) -> str:
    said = [f"Dice {score.dice:.3f}"]
    said += [f"NSD {score.nsd:.3f}"] if score.nsd is not None else []
    if score.hd95_mm is not None:
        said.append("HD95 ∞" if math.isinf(score.hd95_mm) else f"HD95 {score.hd95_mm:.1f} mm")
    said.append(f"prediction {score.pred_mm3:,.0f}, reference {score.ref_mm3:,.0f} mm³")
    return ", ".join(said)


def _facts(table: ScoreTable, how: Bootstrap) -> list[tuple[str, str]]:
    facts = [
        ("predictions", str(table.pred)),
        ("references", str(table.gt)),
        ("scored", f"{table.n_scored} of {table.n_references} references"),
        *([("left out", f"{len(table.left_out)} references without a prediction")] if table.left_out else []),
        ("intervals", f"{100 * how.level:g} % bootstrap over cases, {how.samples:,} draws"),
    ]
    if "nsd" in table.measures.metrics:
        names = {score.label: score.name for score in table.scores}
        mm = {name: table.measures.nsd_mm.of(label) for label, name in names.items()}
        one = len(set(mm.values())) == 1
        said = f"{next(iter(mm.values())):g} mm" if one else ", ".join(f"{n} {v:g} mm" for n, v in mm.items())
        facts.append(("NSD at", said))
    if LESIONS in table.measures.metrics:
        facts.append(
            ("lesions", f"components of 26 neighbours, found from an overlap (IoU) of {table.measures.lesion_iou:g}")
        )
    return facts


def _problems(table: ScoreTable) -> list[str]:
    return [problems_table([problem]) for problem in table.problems]


def _sorted(scores: Sequence[Score]) -> list[Score]:
    """Worst first; what has no Dice last."""
    return sorted(scores, key=lambda s: (np.nan_to_num(s.dice, nan=2), s.case_id, s.label))


def _summary(table: ScoreTable, summary: Sequence[LabelSummary]) -> Table:
    columns = [c for c in table.measures.columns() if c != "f1"]
    header = ["label", "cases", *(COLUMNS[c].heading for c in columns), "prediction only", "reference only", "neither"]
    rows = []
    for line in summary:
        cells: list[Cell] = [text(line.name), number(line.averages["dice"].n)]
        for column in columns:
            average, digits = line.averages.get(column), COLUMNS[column].digits
            if average is None:
                cells.append(number(None))
                continue
            notes = [_interval(average.mean, digits)] if average.n else []
            notes += [f"median {number(average.median, digits).shown}"] if not math.isnan(average.median) else []
            notes += [f"{average.infinite} infinite"] if average.infinite else []
            cells.append(number(average.mean.value, digits, "\n".join(notes)))
        rows.append([*cells, *(number(n) for n in (line.only_pred, line.only_ref, line.both_empty))])
    return Table("Mean, interval and median of each label; in how many cases one map lacks it", header, rows)


def _lesions(table: ScoreTable, summary: Sequence[LabelSummary]) -> Table:
    header = ["label", "in references", "predicted", "found", "false", "missed", "precision", "recall", "F1"]
    rows = []
    for line in summary:
        if line.lesions:
            n = line.lesions
            counts = (number(value) for value in (n.ref_lesions, n.pred_lesions, n.tp, n.fp, n.fn))
            shares = (number(e.value, 2, _interval(e, 2)) for e in (n.precision, n.recall, n.f1))
            rows.append([text(line.name), *counts, *shares])
    return Table("Lesions: connected components, summed over cases", header, rows)


def _rows(table: ScoreTable, scores: Sequence[Score]) -> Table:
    columns = table.measures.columns()
    counted = LESIONS in table.measures.metrics
    counts = ("lesions found", "false", "missed") if counted else ()
    header = ["case", "label", *(COLUMNS[c].heading for c in columns), "prediction mm³", "reference mm³", *counts]
    rows = [
        [
            text(score.case_id),
            text(score.name),
            *(number(getattr(score, column), COLUMNS[column].digits) for column in columns),
            *(number(value) for value in (score.pred_mm3, score.ref_mm3)),
            *(number(value) for value in ((score.tp, score.fp, score.fn) if counted else ())),
        ]
        for score in scores
    ]
    return Table("One row a case and label, lowest Dice first", header, rows, filter=1)


def paired_table(lines: Sequence[Paired], how: Bootstrap, caption: str = "Case by case") -> Table:
    """A row a label and metric of a comparison."""
    header = ["label", "metric", "pairs", "this", "other", "difference", "better", "worse", "p (Holm)", "shown"]
    rows = []
    for line in lines:
        metric = COLUMNS[line.column]
        interval = _interval(Estimate(line.difference, line.low, line.high), metric.digits)
        pairs = f"{line.left_out} left out" if line.left_out else ""
        rows.append(
            [
                text(line.label),
                text(metric.heading),
                number(line.n, 0, pairs),
                *(number(mean, metric.digits) for mean in (line.mean, line.against)),
                number(line.difference, metric.digits, interval),
                *(number(count) for count in (line.wins, line.losses)),
                number(line.p_holm, 3),
                text(verdict(line, how.level)),
            ]
        )
    return Table(caption, header, rows, filter=1)


def _interval(found: Estimate, digits: int) -> str:
    return f"{number(found.low, digits).shown} to {number(found.high, digits).shown}"
