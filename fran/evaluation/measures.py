"""What is measured of one label of one case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import ConfigError, choices
from fran.evaluation.overlap import Overlap, overlaps
from fran.metrics.lesions import Lesions, lesion_scores
from fran.metrics.surface import SurfaceScore, surface_dice, surface_scores

LESIONS = "lesions"


@dataclass(frozen=True)
class Metric:
    """A number that each label of each case has.

    Attributes:
        title: for people.
        unit: of the numbers, empty where they are shares.
        key: what switches it on, a member of `METRICS`; None: it costs nothing and is always there.
        better: 1 where more is better, -1 where less is, 0 where neither.
        digits: after the point, in tables.
    """

    title: str
    unit: str
    key: str | None
    better: int
    digits: int = 3

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} {self.unit}".rstrip()


#: By the column of `Score` that holds it.
COLUMNS: Mapping[str, Metric] = {
    "dice": Metric("Dice", "", None, 1),
    "nsd": Metric("NSD", "", "nsd", 1),
    "hd95_mm": Metric("HD95", "mm", "hd95", -1, 2),
    "assd_mm": Metric("ASSD", "mm", "assd", -1, 2),
    "asd_mm": Metric("ASD", "mm", "asd", -1, 2),
    "diff_mm3": Metric("volume difference", "mm³", None, 0, 0),
    "f1": Metric("lesion F1", "", LESIONS, 1),
}
DISTANCES = ("hd95", "assd", "asd")
#: What `metrics=` may hold; Dice and volumes are always measured.
METRICS = ("dice", "nsd", *DISTANCES, LESIONS)


@dataclass(frozen=True)
class Tolerances:
    """Tolerance of the NSD in mm: of some labels, and of the rest."""

    rest: float = 2.0
    by_label: Mapping[int, float] = field(default_factory=dict)

    def of(self, label: int) -> float:
        """Tolerance of one label."""
        return self.by_label.get(label, self.rest)

    @classmethod
    def parse(cls, given: Any, names: Mapping[int, str]) -> Tolerances:
        """Read ``2``, or ``{tumour: 1, 3: 2.5, rest: 2}`` with labels by name or value; 2 mm where nothing is said.

        Raises:
            ConfigError: a label that is not known, or no tolerance.
        """
        if not isinstance(given, Mapping):
            return cls(_tolerance(given))
        by_label = {}
        for key, value in given.items():
            if key != "rest":
                by_label[_value_of(key, names)] = _tolerance(value)
        return cls(_tolerance(given.get("rest", cls.rest)), by_label)


@dataclass(frozen=True)
class Measures:
    """What to measure.

    Attributes:
        metrics: of `METRICS`.
        nsd_mm: tolerance of the NSD.
        lesion_iou: from what intersection over union on a lesion counts as found, see `fran.metrics.lesions`.
    """

    metrics: Sequence[str] = METRICS
    nsd_mm: Tolerances = field(default_factory=Tolerances)
    lesion_iou: float = 0.1

    def columns(self) -> tuple[str, ...]:
        """Columns of `Score` that are measured."""
        return tuple(name for name, metric in COLUMNS.items() if metric.key is None or metric.key in self.metrics)


@dataclass(frozen=True)
class Measured:
    """One label of one case; None where it was not asked for."""

    overlap: Overlap
    nsd: float | None = None
    surface: SurfaceScore | None = None
    lesions: Lesions | None = None


@dataclass(frozen=True)
class Score:
    """One label of one case, a row of scores.csv. What was not measured is None, what is not defined NaN.

    Attributes:
        case_id: file name of the reference without its ending.
        label: value in the predictions.
        name: of the label.
        dice: NaN where the label is in neither map.
        nsd, hd95_mm, assd_mm, asd_mm: see `fran.metrics.surface`; distances are infinite where one map lacks the label.
        pred_mm3, ref_mm3, diff_mm3: volumes, and prediction less reference.
        pred_vox, ref_vox: voxels.
        pred_lesions, ref_lesions, tp, fp, fn, precision, recall, f1: connected components, see `fran.metrics.lesions`.
    """

    case_id: str
    label: int
    name: str
    dice: float
    nsd: float | None
    hd95_mm: float | None
    assd_mm: float | None
    asd_mm: float | None
    pred_mm3: float
    ref_mm3: float
    diff_mm3: float
    pred_vox: int
    ref_vox: int
    pred_lesions: int | None
    ref_lesions: int | None
    tp: int | None
    fp: int | None
    fn: int | None
    precision: float | None
    recall: float | None
    f1: float | None

    @property
    def in_neither(self) -> bool:
        """Whether neither map has the label."""
        return not self.pred_vox and not self.ref_vox


def measure(
    pred: NDArray[Any], ref: NDArray[Any], labels: Sequence[int], spacing_mm: Sequence[float], measures: Measures
) -> dict[int, Measured]:
    """Compare some labels of two (x, y, z) label maps on one grid."""
    wanted = set(measures.metrics)
    nsd: dict[int, float] = {}
    surface: dict[int, SurfaceScore] = {}
    lesions: dict[int, Lesions] = {}
    tolerances = {label: measures.nsd_mm.of(label) for label in labels}
    if wanted & set(DISTANCES):
        surface = surface_scores(pred, ref, labels, spacing_mm, tolerances)
        nsd = {label: score.nsd for label, score in surface.items()} if "nsd" in wanted else {}
    elif "nsd" in wanted:
        nsd = surface_dice(pred, ref, labels, spacing_mm, tolerances)
    if LESIONS in wanted:
        lesions = lesion_scores(pred, ref, labels, measures.lesion_iou)
    return {
        label: Measured(found, nsd.get(label), surface.get(label), lesions.get(label))
        for label, found in overlaps(pred, ref, labels).items()
    }


def absent(measures: Measures) -> Measured:
    """What is measured of a label that is in neither map."""
    nothing = SurfaceScore(*(math.nan,) * 4, 0, 0) if set(DISTANCES) & set(measures.metrics) else None
    nsd = math.nan if "nsd" in measures.metrics else None
    return Measured(Overlap(0, 0, 0), nsd, nothing, Lesions(0, 0, 0) if LESIONS in measures.metrics else None)


def as_score(case_id: str, label: int, name: str, found: Measured, voxel_mm3: float, metrics: Sequence[str]) -> Score:
    """A row of the table."""
    pred_mm3, ref_mm3 = found.overlap.pred_vox * voxel_mm3, found.overlap.ref_vox * voxel_mm3
    surface, lesions = found.surface, found.lesions
    return Score(
        case_id=case_id,
        label=label,
        name=name,
        dice=found.overlap.dice,
        nsd=found.nsd,
        hd95_mm=surface.hd95_mm if surface and "hd95" in metrics else None,
        assd_mm=surface.assd_mm if surface and "assd" in metrics else None,
        asd_mm=surface.asd_mm if surface and "asd" in metrics else None,
        pred_mm3=pred_mm3,
        ref_mm3=ref_mm3,
        diff_mm3=pred_mm3 - ref_mm3,
        pred_vox=found.overlap.pred_vox,
        ref_vox=found.overlap.ref_vox,
        pred_lesions=lesions.n_pred if lesions else None,
        ref_lesions=lesions.n_ref if lesions else None,
        tp=lesions.tp if lesions else None,
        fp=lesions.fp if lesions else None,
        fn=lesions.fn if lesions else None,
        precision=lesions.precision if lesions else None,
        recall=lesions.recall if lesions else None,
        f1=lesions.f1 if lesions else None,
    )


def table_of(scores: Sequence[Score], cases: Sequence[str], labels: Sequence[int], column: str) -> NDArray[np.float64]:
    """(cases, labels) of one column; NaN where there is no such row, or nothing was measured or is defined.

    A volume difference is left out where neither map has the label: it says nothing about the volumes.
    """
    rows, columns = ({key: i for i, key in enumerate(keys)} for keys in (cases, labels))
    table = np.full((len(cases), len(labels)), np.nan)
    for score in scores:
        value = getattr(score, column)
        if value is not None and not (column == "diff_mm3" and score.in_neither):
            table[rows[score.case_id], columns[score.label]] = value
    return table


def check_metrics(metrics: Sequence[str]) -> str:
    """What is wrong with a list of metrics; empty where nothing is."""
    unknown = [name for name in metrics if name not in METRICS]
    return f"some of {', '.join(METRICS)}; {choices(unknown[0], METRICS)}" if unknown else ""


def _value_of(key: Any, names: Mapping[int, str]) -> int:
    if str(key).isdigit():
        return int(key)
    values = [value for value, name in names.items() if name == key]
    if not values:
        known = choices(key, list(names.values())) if names else "labels have no names here; use their values"
        raise ConfigError(f"nsd_mm: expected names or values of labels, found '{key}'; {known}")
    return values[0]


def _tolerance(value: Any) -> float:
    try:
        mm = float(value)
    except (TypeError, ValueError):
        mm = math.nan
    if not 0 <= mm < math.inf or isinstance(value, bool):
        raise ConfigError(f"nsd_mm: expected mm, or mm by label such as {{tumour: 1, rest: 2}}, found {value}")
    return mm
