"""A cross-validation as csv and json."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fran.evaluation.cross_validation import OVERALL, CvSummary, LabelResult
from fran.io.case_table import COLUMNS
from fran.io.files import atomic_path, write_json

SUMMARY, CASES, JSON = "summary.csv", "cases.csv", "summary.json"


def write_summary(summary: CvSummary, folder: Path | str, about: Mapping[str, Any]) -> list[Path]:
    """Write summary.csv (a row per label and metric), cases.csv (per case and label) and summary.json (all of it).

    Args:
        summary: to write.
        folder: of the files.
        about: further facts for the JSON, such as the group's name and digests.
    """
    paths = [Path(folder) / name for name in (SUMMARY, CASES, JSON)]
    folds = [f"f{fold.fold}" for fold in summary.folds]
    header = ["label", "metric", "n", "mean", "low", "high", "fold_sd", *folds]
    _write_csv(paths[0], header, ([*_head(r), *map(_cell, r.per_fold)] for r in summary.results))
    rows = ([f.fold, f.run, *(_cell(getattr(s, name)) for name in COLUMNS)] for f in summary.folds for s in f.scores)
    _write_csv(paths[1], ["fold", "run", *COLUMNS], rows)
    write_json(paths[2], {**about, **as_dict(summary)})
    return paths


def as_dict(summary: CvSummary) -> dict[str, Any]:
    """JSON-able form; what is not defined is null."""
    folds = [fold.fold for fold in summary.folds]
    return {
        "level": summary.level,
        "n_cases": summary.n_cases,
        "folds": [{"fold": f.fold, "run": f.run, "n_cases": len({s.case for s in f.scores})} for f in summary.folds],
        "collapsed": list(summary.collapsed),
        "results": [
            {
                "label": r.label,
                "metric": r.metric,
                "n": r.n,
                **{name: _plain(getattr(r, name)) for name in ("mean", "low", "high", "fold_sd")},
                "per_fold": {str(f): _plain(m) for f, m in zip(folds, r.per_fold, strict=True)},
            }
            for r in summary.results
        ],
    }


def metrics_of(summary: CvSummary) -> dict[str, float]:
    """Names and values for a tracker: ``cv/dice``, ``cv/dice_tumour``, with ``_low``, ``_high``, ``_n``, ``_f0``, …"""
    found: dict[str, float] = {}
    for r in summary.results:
        name = f"cv/{r.metric}" if r.label == OVERALL else f"cv/{r.metric}_{r.label}"
        found |= {name: r.mean, f"{name}_low": r.low, f"{name}_high": r.high, f"{name}_n": float(r.n)}
        if r.label == OVERALL:
            found |= {f"{name}_f{f.fold}": m for f, m in zip(summary.folds, r.per_fold, strict=True)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def table_of(summary: CvSummary) -> tuple[list[str], list[list[str]]]:
    """Header and rows for a terminal."""
    percent = f"{100 * summary.level:g} %"
    header = ["label", "metric", "mean", percent, "cases", *(f"fold {f.fold}" for f in summary.folds)]
    rows = [
        [
            *(r.label, r.metric, _short(r.mean), f"{_short(r.low)} to {_short(r.high)}", str(r.n)),
            *map(_short, r.per_fold),
        ]
        for r in summary.results
    ]
    return header, rows


def _head(r: LabelResult) -> list[Any]:
    return [r.label, r.metric, r.n, *map(_cell, (r.mean, r.low, r.high, r.fold_sd))]


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
