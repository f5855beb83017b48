"""Global properties: what the training cases of a project have in common, and the numbers training takes from them.

All of them leave test cases out. With case i of n_i foreground voxels, mean m_i and population std s_i:

    mean_fg = sum(n_i m_i) / N,   std_fg = sqrt(sum(n_i (s_i^2 + (m_i - mean_fg)^2)) / N),   N = sum(n_i)

which equal the mean and std of all foreground voxels pooled. Percentiles come from the bounded samples of the
foreground, each sampled voxel standing for n_i / (sample size) voxels; where every case has at most 20 000 foreground
voxels they are exact.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.datasources.records import CaseArrays, CaseFacts
from fran.errors import DataError

CLIP_PERCENTILES = (0.5, 99.5)
SHAPE_PERCENTILES = (0, 10, 50, 90, 100)
ANISOTROPIC = 3.0
_VERSION = 1  # to be raised with every change of a formula

ArrayReader = Callable[[], Iterator[tuple[str, CaseArrays]]]


@dataclass(frozen=True)
class PropertyCase:
    """A training case."""

    case_id: str
    datasource: str
    modality: str
    facts: CaseFacts


def inputs_digest(cases: Iterable[tuple[str, str, str, str]]) -> str:
    """Digest of (case id, image digest, lm digest, modality) of the training cases: equal inputs, equal properties."""
    joined = "\n".join([f"version {_VERSION}", *("\t".join(case) for case in sorted(cases))])
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def global_properties(
    cases: Sequence[PropertyCase], read_arrays: ArrayReader, label_names: Mapping[int, str]
) -> dict[str, Any]:
    """Properties of the training cases, ready for global_properties.json. Units: raw (HU for CT), mm, voxels.

    Args:
        cases: training cases.
        read_arrays: yields the arrays of those cases; called twice.
        label_names: by value; the values met are named.

    Raises:
        DataError: no case has foreground.
    """
    with_foreground = [c for c in cases if c.facts.foreground is not None]
    if not with_foreground:
        raise DataError(
            f"global properties: expected training cases with foreground, found {len(cases)} cases without any; "
            "add data with labels, or move cases from test to training"
        )
    labels = sorted({v for c in cases for v in c.facts.labels})
    modalities = Counter(c.modality for c in cases)
    properties = _foreground(with_foreground)
    low, high = _clip_range(with_foreground, read_arrays)
    mean, std = clipped_moments((arrays.bins for _, arrays in read_arrays()), low, high)
    return {
        **properties,
        "intensity_clip_range": [low, high],
        "intensity_percentile_005_995_fg": [low, high],
        "mean_dataset_clipped": mean,
        "std_dataset_clipped": std,
        **_shapes(cases),
        "labels_all": labels,
        "label_names": {str(v): label_names.get(v, f"label_{v}") for v in labels},
        "modality": modalities.most_common(1)[0][0] if len(modalities) == 1 else "mixed",
        "modalities": dict(sorted(modalities.items())),
        "n_cases": len(cases),
        "n_cases_with_foreground": len(with_foreground),
        "datasources": dict(sorted(Counter(c.datasource for c in cases).items())),
    }


def pooled_moments(parts: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """Mean and population std of the union of sets given as (n, mean, population std)."""
    n, mean, std = np.array(parts, dtype=np.float64).T
    pooled = float((n * mean).sum() / n.sum())
    return pooled, float(np.sqrt((n * (std**2 + (mean - pooled) ** 2)).sum() / n.sum()))


def weighted_percentiles(
    values: NDArray[np.floating[Any]], weights: NDArray[np.float64], percentiles: Sequence[float]
) -> list[float]:
    """Percentiles of weighted values.

    With equal weights these are ``numpy.percentile``'s (linear). Otherwise value k of the sorted ones sits at the
    middle of its weight, ``(w_1 + … + w_{k-1} + w_k / 2) / sum(w)``, and percentiles are interpolated between.
    """
    if np.ptp(weights) == 0:
        return [float(p) for p in np.percentile(values, percentiles)]
    order = np.argsort(values, kind="stable")
    positions = np.cumsum(weights[order]) - weights[order] / 2
    wanted = np.array(percentiles) / 100 * weights.sum()
    return [float(p) for p in np.interp(wanted, positions, values[order])]


def clipped_moments(tables: Iterable[NDArray[np.float64]], low: float, high: float) -> tuple[float, float]:
    """Mean and population std of all voxels of all images, each clipped to [low, high] first.

    Each table is `CaseArrays.bins`. A bin is clipped by its mean value; the result is exact where bins are one whole
    number wide, and elsewhere off by less than one bin's share around `low` and `high`.
    """
    n = total = squares = 0.0
    for table in tables:
        _, count, summed, squared = table[:, table[1] > 0]
        mean = summed / count
        clipped = np.clip(mean, low, high)
        inside = mean == clipped
        n += count.sum()
        total += np.where(inside, summed, count * clipped).sum()
        squares += np.where(inside, squared, count * clipped**2).sum()
    mean_all = total / n
    return float(mean_all), float(np.sqrt(max(squares / n - mean_all**2, 0.0)))


def recommended_spacing(spacings_mm: NDArray[np.float64]) -> list[float]:
    """Spacing (x, y, z) to resample to, from an array (cases, 3): the median of each axis.

    Where the coarsest axis is at least three times as coarse as the finest, it gets its 10th percentile instead, but
    nothing finer than the next axis, so that thick slices do not decide for thin ones (the rule of nnU-Net, Isensee et
    al., Nature Methods 2021, without its condition on the number of voxels). Rounded to 0.001 mm.
    """
    target = np.median(spacings_mm, axis=0)
    worst = int(np.argmax(target))
    if target[worst] >= ANISOTROPIC * target.min():
        others = np.delete(target, worst)
        target[worst] = max(float(np.percentile(spacings_mm[:, worst], 10)), float(others.max()))
    return [round(float(s), 3) for s in target]


def _foreground(cases: Sequence[PropertyCase]) -> dict[str, Any]:
    stats = [c.facts.foreground for c in cases if c.facts.foreground is not None]
    mean, std = pooled_moments([(s.n, s.mean, s.std) for s in stats])
    return {
        "mean_fg": mean,
        "std_fg": std,
        "min_fg": min(s.min for s in stats),
        "max_fg": max(s.max for s in stats),
        "n_voxels_fg": sum(s.n for s in stats),
    }


def _clip_range(cases: Sequence[PropertyCase], read_arrays: ArrayReader) -> tuple[float, float]:
    n_voxels = {c.case_id: c.facts.foreground.n for c in cases if c.facts.foreground is not None}
    samples = [(n_voxels[case_id], arrays.sample) for case_id, arrays in read_arrays() if case_id in n_voxels]
    values = np.concatenate([sample for _, sample in samples]).astype(np.float64)
    weights = np.concatenate([np.full(sample.size, n / sample.size) for n, sample in samples])
    low, high = weighted_percentiles(values, weights, CLIP_PERCENTILES)
    return low, high


def _shapes(cases: Sequence[PropertyCase]) -> dict[str, Any]:
    spacing = np.array([c.facts.spacing_mm for c in cases], dtype=np.float64)
    size = np.array([c.facts.size for c in cases], dtype=np.float64)
    shapes: dict[str, Any] = {"spacing_recommended": recommended_spacing(spacing)}
    for name, table in (("spacing", spacing), ("size", size)):
        shapes[f"{name}_median"] = np.median(table, axis=0).tolist()
        rows = np.percentile(table, SHAPE_PERCENTILES, axis=0).tolist()
        shapes[f"{name}_percentiles"] = dict(zip(map(str, SHAPE_PERCENTILES), rows, strict=True))
    return shapes
