"""What validation measures of each case: Dice, NSD and volumes of every label, at the spacing of the stored case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fran.io.case_table import CaseScore
from fran.metrics.dice import dice_of, joint_histogram
from fran.metrics.surface import surface_dice

Spacing = tuple[float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ValidationSettings:
    """How whole cases are predicted and measured during training.

    Attributes:
        overlap: share of a tile that the next one covers.
        tile_batch: tiles per forward pass.
        nsd_mm: tolerance of the normalised surface Dice; None leaves it out.
        spacing_mm: case id to the (x, y, z) voxel size of the stored case, in which everything is measured.
    """

    overlap: float = 0.5
    tile_batch: int = 4
    nsd_mm: float | None = None
    spacing_mm: Mapping[str, Spacing] = field(default_factory=dict)

    def spacing_of(self, case_id: str) -> Spacing:
        """Voxel size of a case; 1 mm where none is known."""
        return self.spacing_mm.get(case_id, (1.0, 1.0, 1.0))


@dataclass(frozen=True, eq=False)
class CaseResult:
    """One validated case; each array is (n_labels,), channel 1 first.

    Attributes:
        dice: NaN where the label is in neither map, or the case does not annotate it.
        nsd: normalised surface Dice; NaN as above, and where it was not measured.
        pred_mm3: volume of the prediction.
        ref_mm3: volume of the reference; NaN where the case does not annotate the label.
    """

    dice: Floats
    nsd: Floats
    pred_mm3: Floats
    ref_mm3: Floats

    @property
    def mean_dice(self) -> float:
        """Over the labels that have one; NaN where none has."""
        known = self.dice[np.isfinite(self.dice)]
        return float(known.mean()) if len(known) else float("nan")


def measure_case(
    channels: Tensor, lm: Tensor, n_classes: int, spacing_mm: Spacing, nsd_mm: float | None, drawn: Tensor | None = None
) -> CaseResult:
    """Compare a prediction with its reference.

    Args:
        channels: (x, y, z) predicted channels.
        lm: (x, y, z) reference channels, on the same device.
        n_classes: background included.
        spacing_mm: (x, y, z) voxel size.
        nsd_mm: tolerance of the NSD; None does not measure it.
        drawn: (n_classes,) whether the case annotates each channel; None for all.
    """
    pairs = joint_histogram(channels, lm, n_classes).cpu().numpy()
    known = np.ones(n_classes, bool) if drawn is None else drawn.cpu().numpy()
    voxel_mm3 = prod(spacing_mm)
    pred_mm3, ref_mm3 = pairs.sum(0)[1:] * voxel_mm3, pairs.sum(1)[1:] * voxel_mm3
    nsd = np.full(n_classes - 1, np.nan)
    if nsd_mm is not None:
        wanted = [c for c in range(1, n_classes) if known[c] and pred_mm3[c - 1] + ref_mm3[c - 1] > 0]
        pred, ref = _unsigned(channels, n_classes), _unsigned(lm, n_classes)
        for channel, value in surface_dice(pred, ref, wanted, spacing_mm, nsd_mm).items():
            nsd[channel - 1] = value
    drawn_labels = known[1:]
    dice = np.where(drawn_labels, dice_of(pairs), np.nan)
    return CaseResult(dice, nsd, pred_mm3, np.where(drawn_labels, ref_mm3, np.nan))


def label_means(values: Sequence[Floats], n_labels: int) -> tuple[Floats, NDArray[np.int64]]:
    """Mean over the cases that have a value, and how many those are; both (n_labels,), NaN where there are none."""
    stacked = np.stack(values) if values else np.empty((0, n_labels))
    counts = np.isfinite(stacked).sum(0)
    sums = np.nansum(stacked, axis=0)
    return np.divide(sums, counts, out=np.full(n_labels, np.nan), where=counts > 0), counts


def figures_of(results: Mapping[str, CaseResult], names: Sequence[str], *, with_nsd: bool) -> dict[str, float]:
    """`val/dice` and its like: means over cases for each label, and over labels; the number of cases behind each."""
    dice, counts = label_means([r.dice for r in results.values()], len(names))
    figures = {"val/dice": _mean(dice)}
    figures |= {f"val/dice_{name}": float(mean) for name, mean in zip(names, dice, strict=True)}
    figures |= {f"val/n_{name}": float(count) for name, count in zip(names, counts, strict=True)}
    if with_nsd:
        nsd, _ = label_means([r.nsd for r in results.values()], len(names))
        figures |= {"val/nsd": _mean(nsd)}
        figures |= {f"val/nsd_{name}": float(mean) for name, mean in zip(names, nsd, strict=True)}
    return figures


def table_rows(results: Mapping[str, CaseResult], names: Sequence[str]) -> list[CaseScore]:
    """A row for each case and label, cases in the order of their ids."""
    return [
        CaseScore(case_id, name, *(float(array[n]) for array in (r.dice, r.nsd, r.pred_mm3, r.ref_mm3)))
        for case_id, r in sorted(results.items())
        for n, name in enumerate(names)
    ]


def gathered(mine: dict[str, CaseResult], world_size: int) -> dict[str, CaseResult]:
    """The results of all processes."""
    if world_size == 1:
        return mine
    parts: list[dict[str, CaseResult]] = [{}] * world_size
    torch.distributed.all_gather_object(parts, mine)
    return {case_id: result for part in parts for case_id, result in part.items()}


def _mean(means: Floats) -> float:
    known = means[np.isfinite(means)]
    return float(known.mean()) if len(known) else float("nan")


def _unsigned(lm: Tensor, n_classes: int) -> NDArray[np.unsignedinteger]:
    array: NDArray[np.unsignedinteger] = (
        lm.cpu().numpy().astype(np.uint8 if n_classes <= 256 else np.uint16, copy=False)
    )
    return array
