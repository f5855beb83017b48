"""Global properties: what the training cases of a project have in common, and the numbers training takes from them.

All of them leave test cases out. With case i of n_i foreground voxels, mean m_i and population std s_i:

    mean_fg = sum(n_i m_i) / N,   std_fg = sqrt(sum(n_i (s_i^2 + (m_i - mean_fg)^2)) / N),   N = sum(n_i)

which equal the mean and std of all foreground voxels pooled. Percentiles come from bounded samples of the foreground
(`fran.projects.pooling`), each sampled voxel of case i standing for w = n_i / (its sample's size) voxels. Where every
case's sample is its whole foreground they are exact; otherwise `clip_rank_error` is the standard error of their rank,

    100 sqrt(p (1 - p) / n_eff) percent,   p = 0.005,   n_eff = sum(w)^2 / sum(w^2),

so the lower limit is, with 95 % certainty, a percentile between 0.5 - 2 and 0.5 + 2 times that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.datasources.records import Stats
from fran.errors import DataError
from fran.projects.pooling import Pool
from fran.projects.recommendation import recommend

CLIP_PERCENTILES = (0.5, 99.5)
SHAPE_PERCENTILES = (0, 10, 50, 90, 100)
_VERSION = 2  # to be raised with every change of a formula


@dataclass(frozen=True)
class PropertyCase:
    """A training case: `labels` by value of the output, no `foreground` where nothing is labelled."""

    case_id: str
    datasource: str
    modality: str
    spacing_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    labels: Mapping[int, int]
    foreground: Stats | None


def inputs_digest(cases: Iterable[tuple[str, str, str, str]]) -> str:
    """Digest of (case id, image digest, lm digest, modality) of the training cases: equal inputs, equal properties."""
    joined = "\n".join([f"version {_VERSION}", *("\t".join(case) for case in sorted(cases))])
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def global_properties(cases: Sequence[PropertyCase], pool: Pool, label_names: Mapping[int, str]) -> dict[str, Any]:
    """Properties of the training cases, ready for global_properties.json. Units: raw (HU for CT), mm, voxels.

    Args:
        cases: training cases.
        pool: of the same cases.
        label_names: by value; the values met are named.

    Raises:
        DataError: no case has foreground.
    """
    with_foreground = {c.case_id: c.foreground for c in cases if c.foreground is not None}
    if not with_foreground:
        raise DataError(
            f"global properties: expected training cases with foreground, found {len(cases)} cases without any; "
            "add data with labels, or move cases from test to training"
        )
    labels = sorted({v for c in cases for v in c.labels})
    modalities = Counter(c.modality for c in cases)
    modality = modalities.most_common(1)[0][0] if len(modalities) == 1 else "mixed"
    clip = _clip_range({c: s.n for c, s in with_foreground.items()}, pool)
    mean, std = clipped_moments(pool.tones, *clip["intensity_clip_range"])
    return {
        **_foreground(list(with_foreground.values())),
        **clip,
        "mean_dataset_clipped": mean,
        "std_dataset_clipped": std,
        **_shapes(cases, modality),
        "labels_all": labels,
        "label_names": {str(v): label_names.get(v, f"label_{v}") for v in labels},
        "label_voxels": {str(v): sum(c.labels.get(v, 0) for c in cases) for v in labels},
        "label_cases": {str(v): sum(v in c.labels for c in cases) for v in labels},
        "modality": modality,
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
    order = np.argsort(values)
    positions = np.cumsum(weights[order]) - weights[order] / 2
    wanted = np.array(percentiles) / 100 * weights.sum()
    return [float(p) for p in np.interp(wanted, positions, values[order])]


def clipped_moments(tones: NDArray[np.float64], low: float, high: float) -> tuple[float, float]:
    """Mean and population std of all voxels of all images, each clipped to [low, high] first.

    `tones` is `Pool.tones`. A bin is clipped by its mean value, so the result is exact for whole numbers below 8192 in
    images that span up to 4096; elsewhere it is off by less than the share of the bins around `low` and `high`.
    """
    _, count, summed, squared = tones
    mean = summed / count
    clipped = np.clip(mean, low, high)
    inside = mean == clipped
    n = count.sum()
    mean_all = float(np.where(inside, summed, count * clipped).sum() / n)
    square_all = float(np.where(inside, squared, count * clipped**2).sum() / n)
    return mean_all, float(np.sqrt(max(square_all - mean_all**2, 0.0)))


def _foreground(stats: Sequence[Stats]) -> dict[str, Any]:
    mean, std = pooled_moments([(s.n, s.mean, s.std) for s in stats])
    return {
        "mean_fg": mean,
        "std_fg": std,
        "min_fg": min(s.min for s in stats),
        "max_fg": max(s.max for s in stats),
        "n_voxels_fg": sum(s.n for s in stats),
    }


def _clip_range(n_voxels: Mapping[str, int], pool: Pool) -> dict[str, Any]:
    samples = [(n, pool.samples[case]) for case, n in n_voxels.items()]
    values = np.concatenate([sample for _, sample in samples]).astype(np.float64)
    weights = np.concatenate([np.full(sample.size, n / sample.size) for n, sample in samples])
    limits = weighted_percentiles(values, weights, CLIP_PERCENTILES)
    p = CLIP_PERCENTILES[0] / 100
    effective = weights.sum() ** 2 / (weights**2).sum()
    whole = all(sample.size == n for n, sample in samples)
    return {
        "intensity_clip_range": limits,
        "intensity_percentile_005_995_fg": limits,
        "n_voxels_sampled": int(values.size),
        "clip_rank_error": 0.0 if whole else float(100 * np.sqrt(p * (1 - p) / effective)),
    }


def _shapes(cases: Sequence[PropertyCase], modality: str) -> dict[str, Any]:
    spacing = np.array([c.spacing_mm for c in cases], dtype=np.float64)
    size = np.array([c.size for c in cases], dtype=np.float64)
    recommendation = recommend(spacing, size, modality)
    shapes: dict[str, Any] = {
        "spacing_recommended": recommendation["spacing"],
        "recommendation": recommendation,
    }
    for name, table in (("spacing", spacing), ("size", size)):
        shapes[f"{name}_median"] = np.median(table, axis=0).tolist()
        rows = np.percentile(table, SHAPE_PERCENTILES, axis=0).tolist()
        shapes[f"{name}_percentiles"] = dict(zip(map(str, SHAPE_PERCENTILES), rows, strict=True))
    return shapes
