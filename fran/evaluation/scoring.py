"""Score a folder of predicted label maps against a folder of references, by the rules of docs/scoring.md."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fran.errors import CaseProblem, FranError
from fran.evaluation.measures import Measured, Measures, Score, Tolerances, absent, as_score, measure
from fran.evaluation.origins import as_predicted, names_beside, renumbered, scheme_beside
from fran.evaluation.overlap import labels_present
from fran.evaluation.pairing import label_folder, label_maps, pair, unpaired, unscored
from fran.io.memory import free_memory
from fran.io.volume import Volume, read_native_grid, read_volume
from fran.labels import Remapping
from fran.parallel.jobs import Failure
from fran.parallel.local import run_jobs
from fran.preprocessing.memory import AUTO, fitting_processes, usable_cores

#: Grids further apart than this share of the smallest voxel side are not compared.
GRID_TOLERANCE_VOXELS = 0.05
#: Peak memory of a process: both maps, components, surfaces and their indices.
_BYTES_PER_VOXEL, _WORKER_BYTES = 16, 200_000_000

log = logging.getLogger("fran.score")


@dataclass(frozen=True)
class ScoreTable:
    """What `score_folder` found: rows in the order of case and label, and what could not be scored.

    Attributes:
        pred, gt: the folders.
        scores: a row per case and label.
        problems: errors, warnings and notes.
        n_references, n_scored: references, and how many of them have scores.
        missing: references without a prediction.
        left_out: references without a prediction that were not to be scored; not among `n_references`.
        files: (prediction, reference) of each scored case.
        measures: what was measured.
        translation: of the references' values, where they are raw ones.
    """

    pred: Path
    gt: Path
    scores: tuple[Score, ...]
    problems: tuple[CaseProblem, ...]
    n_references: int
    n_scored: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    files: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    measures: Measures = field(default_factory=Measures)
    translation: Remapping | None = None

    @property
    def n_unscored(self) -> int:
        """References without a score: without a prediction, unreadable, or on another grid."""
        return self.n_references - self.n_scored

    @property
    def errors(self) -> tuple[CaseProblem, ...]:
        """Problems that kept references from being scored; all missing predictions are one of them."""
        return tuple(p for p in self.problems if p.severity == "error")

    def worst(self, n: int = 5) -> list[Score]:
        """The `n` lowest Dice values, worst first."""
        defined = (s for s in self.scores if not math.isnan(s.dice))
        return sorted(defined, key=lambda s: (s.dice, s.case_id, s.label))[:n]


@dataclass(frozen=True)
class CaseJob:
    """A case to score, in this or another process.

    Attributes:
        case_id: for its rows.
        pred, ref: files.
        measures: what to measure.
        translation: of the reference's values, where they are raw ones.
        only: labels that can be compared; None: all.
    """

    case_id: str
    pred: Path
    ref: Path
    measures: Measures
    translation: Remapping | None
    only: frozenset[int] | None


@dataclass(frozen=True)
class CaseResult:
    """Labels found in either map; `found` is None where the case could not be scored."""

    found: Mapping[int, Measured] | None
    voxel_mm3: float
    problem: CaseProblem | None


def score_folder(
    pred: Path | str,
    gt: Path | str,
    names: Mapping[int, str] | None = None,
    on_case: Callable[[int, int], None] | None = None,
    datasource: str | None = None,
    *,
    measures: Measures | None = None,
    nsd_mm: Any = None,
    num_processes: int = 1,
    predicted_only: bool = False,
) -> ScoreTable:
    """Compare every reference label map in `gt` with the prediction of the same case in `pred`.

    Args:
        pred: folder of predictions (.nii.gz, .nii, .nrrd or .mha).
        gt: folder of references, or one that has them in lms/, labelsTr/ or labelsTs/; see `label_folder`.
        names: label value to name; without it the names that the predictions carry in their .json files are used, or,
            where they have none, those of the references' folder (labels.json, dataset.json).
        on_case: called with (cases done, cases in all).
        datasource: the references are raw label maps of this datasource, one of several that the model was trained on:
            their values are translated, and labels that it does not annotate are left out.
        measures: what to measure; everything by default.
        nsd_mm: tolerance of the NSD as `Tolerances.parse` reads it, in place of that in `measures`.
        num_processes: over cases; -1: as many as cores and memory allow.
        predicted_only: references without a prediction are left out and noted instead of being errors; where not one
            has a prediction they stay errors.

    Returns:
        One row per case and label, for every label that occurs in any prediction or reference. References without a
        prediction, unreadable files and differing grids are `errors`, predictions without a reference are notes.

    Raises:
        DataError: one of the folders is missing or there is nothing to score.
        ConfigError: the predictions' labels are not made of `datasource`, or a tolerance is for no label.
    """
    pred = Path(pred)
    preds = label_maps(pred)
    gt = label_folder(Path(gt), preds)
    pairs, unpredicted, extra = pair(preds, label_maps(gt))
    missing, left_out = ([], unpredicted) if predicted_only and pairs else (unpredicted, [])
    scheme = scheme_beside([p for _, p, _ in pairs])
    known = {**(scheme.names if scheme else names_beside(gt)), **(names or {})}
    measures = measures or Measures()
    if nsd_mm is not None:
        measures = replace(measures, nsd_mm=Tolerances.parse(nsd_mm, known))
    translation, only = as_predicted(scheme, datasource) if datasource else (None, None)
    problems = _unpaired(pred, gt, missing, left_out, extra) + ([] if datasource else renumbered(scheme, pred))
    jobs = [CaseJob(case_id, p, r, measures, translation, only) for case_id, p, r in pairs]
    results: dict[str, CaseResult] = {}
    if on_case is not None:
        on_case(0, len(jobs))
    for index, result in run_jobs(score_case, jobs, processes_for([job.ref for job in jobs], num_processes)):
        results[jobs[index].case_id] = _crashed(jobs[index], result) if isinstance(result, Failure) else result
        if on_case is not None:
            on_case(len(results), len(jobs))
    labels = set(only if only is not None else names or ())
    labels |= {label for result in results.values() for label in result.found or ()}
    scored = [job for job in jobs if results[job.case_id].found is not None]
    rows = []
    for job in scored:
        result = results[job.case_id]
        for label in sorted(labels):
            found = (result.found or {}).get(label, absent(measures))
            name = known.get(label, f"label_{label}")
            rows.append(as_score(job.case_id, label, name, found, result.voxel_mm3, measures.metrics))
    problems += [results[job.case_id].problem for job in jobs if results[job.case_id].problem]  # type: ignore[misc]
    return ScoreTable(
        pred,
        gt,
        tuple(rows),
        tuple(problems),
        n_references=len(pairs) + len(missing),
        n_scored=len(scored),
        missing=tuple(missing),
        left_out=tuple(left_out),
        files={job.case_id: (job.pred, job.ref) for job in scored},
        measures=measures,
        translation=translation,
    )


def score_case(job: CaseJob) -> CaseResult:
    """Read both maps and measure every label that is in either of them."""
    try:
        pred, ref = read_volume(job.pred, role="lm"), read_volume(job.ref, role="lm")
    except FranError as error:
        return CaseResult(None, 0.0, unscored(job.case_id, job.pred, "readable label maps", str(error)))
    problem = _grid_problem(job.case_id, pred, ref)
    if problem is not None and problem.severity == "error":
        return CaseResult(None, 0.0, problem)
    array = ref.array if job.translation is None else job.translation.apply(ref.array)
    present = labels_present(pred.array) | labels_present(array)
    labels = sorted(present if job.only is None else present & job.only)
    spacing_mm = ref.grid.spacing_mm
    return CaseResult(measure(pred.array, array, labels, spacing_mm, job.measures), float(np.prod(spacing_mm)), problem)


def processes_for(refs: Sequence[Path], wanted: int) -> int:
    """Processes to use: as many as are wanted, or for -1 as many as cores and memory allow for the largest case."""
    if wanted != AUTO:
        return wanted
    voxels = [1]
    for ref in refs:
        try:
            voxels.append(math.prod(read_native_grid(ref).shape))
        except FranError:
            continue  # said when the case is read
    need = _WORKER_BYTES + _BYTES_PER_VOXEL * max(voxels)
    return fitting_processes([need], free_memory(), usable_cores())


def _unpaired(
    pred: Path, gt: Path, missing: Sequence[str], left_out: Sequence[str], extra: Sequence[str]
) -> list[CaseProblem]:
    if left_out:
        return unpaired(pred, gt, left_out, extra, "nothing: left out, for cases=predicted", "note")
    step = "predict these cases, or score the others alone: cases=predicted"
    return unpaired(pred, gt, missing, extra, step)


def _crashed(job: CaseJob, failure: Failure) -> CaseResult:
    log.error("%s: %s\n%s", job.case_id, failure.message, failure.trace)
    problem = unscored(job.case_id, job.pred, "a score", f"{failure.kind}: {failure.message}")
    return CaseResult(None, 0.0, problem)


def _grid_problem(case_id: str, pred: Volume, ref: Volume) -> CaseProblem | None:
    if pred.grid.allclose(ref.grid):
        return None
    same_shape = pred.grid.shape == ref.grid.shape
    distance = pred.grid.max_distance_mm(ref.grid) if same_shape else math.inf
    small = distance <= GRID_TOLERANCE_VOXELS * min(ref.grid.spacing_mm)
    return CaseProblem(
        case_id=case_id,
        path=str(pred.path),
        what=f"grids differ by {distance:.3g} mm at a corner" if same_shape else "shapes differ",
        expected=f"the reference's grid: {ref.grid} ({ref.path})",
        found=f"prediction on: {pred.grid}",
        next_step="scored voxel by voxel all the same"
        if small
        else "predict on the image that the reference belongs to",
        severity="warning" if small else "error",
    )
