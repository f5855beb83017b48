"""Score a folder of predicted label maps against a folder of references, by the rules of docs/scoring.md."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from fran.errors import CaseProblem, DataError, FranError, Severity
from fran.evaluation.origins import as_predicted, renumbered, scheme_beside
from fran.evaluation.overlap import Overlap, labels_present, overlaps
from fran.io.volume import EXTENSIONS, Volume, read_volume, stem

#: Grids further apart than this share of the smallest voxel side are not compared.
GRID_TOLERANCE_VOXELS = 0.05


@dataclass(frozen=True)
class Score:
    """One label of one case. Dice is NaN when the label is absent from both prediction and reference."""

    case_id: str
    label: int
    name: str
    dice: float
    pred_mm3: float
    ref_mm3: float
    pred_vox: int
    ref_vox: int


@dataclass(frozen=True)
class LabelSummary:
    """One label over all scored cases; `mean` and `sd` (n - 1 in the denominator) leave out cases without Dice."""

    label: int
    name: str
    n: int
    mean: float
    sd: float
    both_empty: int
    only_pred: int
    only_ref: int


@dataclass(frozen=True)
class ScoreTable:
    """What `score_folder` found: rows in the order of case and label, and what could not be scored."""

    pred: Path
    gt: Path
    scores: tuple[Score, ...]
    problems: tuple[CaseProblem, ...]
    n_references: int
    n_scored: int
    missing: tuple[str, ...]

    @property
    def n_unscored(self) -> int:
        """References without a score: without a prediction, unreadable, or on another grid."""
        return self.n_references - self.n_scored

    @property
    def errors(self) -> tuple[CaseProblem, ...]:
        """Problems that kept references from being scored; all missing predictions are one of them."""
        return tuple(p for p in self.problems if p.severity == "error")

    def summary(self) -> list[LabelSummary]:
        """One line a label, in the order of label values."""
        by_label: dict[int, list[Score]] = defaultdict(list)
        for score in self.scores:
            by_label[score.label].append(score)
        return [_summarise(by_label[label]) for label in sorted(by_label)]

    def worst(self, n: int = 5) -> list[Score]:
        """The `n` lowest Dice values, worst first."""
        defined = (s for s in self.scores if not math.isnan(s.dice))
        return sorted(defined, key=lambda s: (s.dice, s.case_id, s.label))[:n]


def score_folder(
    pred: Path | str,
    gt: Path | str,
    names: Mapping[int, str] | None = None,
    on_case: Callable[[int, int], None] | None = None,
    datasource: str | None = None,
) -> ScoreTable:
    """Compare every reference label map in `gt` with the prediction of the same case in `pred`.

    Args:
        pred: folder of predictions (.nii.gz, .nii, .nrrd or .mha).
        gt: folder of references, or a datasource folder that has them in lms/.
        names: label value to name; without it the names that the predictions carry in their .json files are used.
        on_case: called with (cases done, cases in all).
        datasource: the references are raw label maps of this datasource, one of several that the model was trained on:
            their values are translated, and labels that it does not annotate are left out.

    Returns:
        One row per case and label, for every label that occurs in any prediction or reference. References without a
        prediction, unreadable files and differing grids are `errors`, predictions without a reference are notes.

    Raises:
        DataError: one of the folders is missing or there is nothing to score.
        ConfigError: the predictions' labels are not made of `datasource`.
    """
    pred, gt = Path(pred), _label_folder(Path(gt))
    pairs, missing, extra = _pair(_label_maps(pred), _label_maps(gt))
    scheme = scheme_beside([p for _, p, _ in pairs])
    translation = as_predicted(scheme, datasource) if datasource else None
    problems = _unpaired(pred, gt, missing, extra) + ([] if datasource else renumbered(scheme, pred))
    spaces: dict[str, tuple[dict[int, Overlap], float]] = {}
    labels: set[int] = set(translation[1] if translation else names or ())
    for done, (case_id, pred_file, gt_file) in enumerate(pairs, start=1):
        try:
            pred_lm, ref_lm = read_volume(pred_file, role="lm"), read_volume(gt_file, role="lm")
            problem = _grid_problem(case_id, pred_lm, ref_lm)
            if problem is None or problem.severity != "error":
                if translation:
                    ref_lm = replace(ref_lm, array=translation[0].apply(ref_lm.array))
                spaces[case_id] = _compare(pred_lm, ref_lm, translation[1] if translation else None)
                labels |= set(spaces[case_id][0])
        except FranError as error:
            problem = _unscored(case_id, pred_file, "readable label maps", str(error))
        if problem is not None:
            problems.append(problem)
        if on_case is not None:
            on_case(done, len(pairs))
    known = {**(scheme.names if scheme else {}), **(names or {})}
    rows = [
        _row(case_id, label, known.get(label, f"label_{label}"), found.get(label, Overlap(0, 0, 0)), voxel_mm3)
        for case_id, (found, voxel_mm3) in spaces.items()
        for label in sorted(labels)
    ]
    n_references = len(pairs) + len(missing)
    return ScoreTable(pred, gt, tuple(rows), tuple(problems), n_references, len(spaces), tuple(missing))


def case_id_of(file_stem: str) -> str:
    """Case id of a name ``{project_title}_{case_id}[_more]``; the whole name when it has no such parts."""
    parts = file_stem.split("_")
    return parts[1] if len(parts) > 1 and parts[1] else file_stem


def _compare(pred: Volume, ref: Volume, only: frozenset[int] | None) -> tuple[dict[int, Overlap], float]:
    """Overlaps per label present in either map (and in `only`), and the volume of the reference's voxels in mm3."""
    present = labels_present(pred.array) | labels_present(ref.array)
    labels = sorted(present if only is None else present & only)
    return overlaps(pred.array, ref.array, labels), float(np.prod(ref.grid.spacing_mm))


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


def _row(case_id: str, label: int, name: str, found: Overlap, voxel_mm3: float) -> Score:
    return Score(
        case_id=case_id,
        label=label,
        name=name,
        dice=found.dice,
        pred_mm3=found.pred_vox * voxel_mm3,
        ref_mm3=found.ref_vox * voxel_mm3,
        pred_vox=found.pred_vox,
        ref_vox=found.ref_vox,
    )


def _summarise(scores: Sequence[Score]) -> LabelSummary:
    dice = [s.dice for s in scores if not math.isnan(s.dice)]
    return LabelSummary(
        label=scores[0].label,
        name=scores[0].name,
        n=len(dice),
        mean=fmean(dice) if dice else math.nan,
        sd=stdev(dice) if len(dice) > 1 else math.nan,
        both_empty=sum(not s.pred_vox and not s.ref_vox for s in scores),
        only_pred=sum(bool(s.pred_vox) and not s.ref_vox for s in scores),
        only_ref=sum(not s.pred_vox and bool(s.ref_vox) for s in scores),
    )


def _label_folder(folder: Path) -> Path:
    return folder / "lms" if (folder / "lms").is_dir() else folder


def _label_maps(folder: Path) -> dict[str, Path]:
    """Label maps of a folder by stem; two formats of one stem are refused, for nobody could say which was scored."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder of label maps, found {'a file' if folder.exists() else 'nothing'}"
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(EXTENSIONS):
            continue
        if stem(path) in files:
            raise DataError(
                f"{folder}: expected one file a case, found {files[stem(path)].name} and {path.name}; remove one"
            )
        files[stem(path)] = path
    if not files:
        raise DataError(f"{folder}: expected label maps ({', '.join(EXTENSIONS)}), found none")
    return files


def _pair(
    preds: Mapping[str, Path], refs: Mapping[str, Path]
) -> tuple[list[tuple[str, Path, Path]], list[str], list[str]]:
    """Pairs by equal name first, then by case id where that is unique on both sides; names left on either side."""
    by_id = _unique_ids(s for s in preds if s not in refs)
    ref_ids = _unique_ids(s for s in refs if s not in preds)
    pairs, missing, used = [], [], set()
    for name, ref in refs.items():
        partner = name if name in preds else by_id.get(case_id_of(name)) if name in ref_ids.values() else None
        if partner is None:
            missing.append(name)
        else:
            used.add(partner)
            pairs.append((name, preds[partner], ref))
    return pairs, missing, sorted(set(preds) - used)


def _unpaired(pred: Path, gt: Path, missing: Sequence[str], extra: Sequence[str]) -> list[CaseProblem]:
    """One problem for all references without a prediction, and one note for all predictions without a reference."""
    problems = []
    if missing:
        expected = f"a prediction of the same name or case id in {pred}"
        step = "predict these cases, or remove their references"
        problems.append(_unscored(_count(missing), gt, expected, f"none for {', '.join(missing)}", step))
    if extra:
        expected = f"a reference of the same name or case id in {gt}"
        step = "nothing, unless they should be scored"
        problems.append(_unscored(_count(extra), pred, expected, f"none for {', '.join(extra)}", step, "note"))
    return problems


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} cases"


def _unique_ids(stems: Iterable[str]) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in stems:
        found[case_id_of(name)].append(name)
    return {case_id: stems[0] for case_id, stems in found.items() if len(stems) == 1}


def _unscored(
    case_id: str, path: Path, expected: str, found: str, next_step: str = "", severity: Severity = "error"
) -> CaseProblem:
    return CaseProblem(
        case_id=case_id,
        path=str(path),
        what="not scored",
        expected=expected,
        found=found,
        next_step=next_step or "repair or predict this case again, then score again",
        severity=severity,
    )
