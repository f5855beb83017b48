"""Tables for people beside the manifest: what is in a stage's folder."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fran.io.files import atomic_path, write_json
from fran.io.manifest import Manifest, ManifestEntry

SUMMARY_NAME = "dataset_summary.json"
LABELS_NAME = "labels_all.json"
DETAILS_NAME = "dataset_details.csv"
SUMMARY_FILES = (SUMMARY_NAME, LABELS_NAME, DETAILS_NAME)

_STATISTICS = ("mean", "std", "min", "max", "p005", "p995")


def write_summaries(manifest: Manifest) -> None:
    """Write the three files; equal manifests give equal bytes."""
    write_json(manifest.folder / SUMMARY_NAME, dataset_summary(manifest))
    write_json(manifest.folder / LABELS_NAME, labels_all(manifest))
    _write_details(manifest, manifest.folder / DETAILS_NAME)


def labels_all(manifest: Manifest) -> list[int]:
    """Every label value that occurs in a case, ascending, 0 left out."""
    return sorted({label for entry in manifest.cases.values() for label in entry.labels})


def dataset_summary(manifest: Manifest) -> dict[str, Any]:
    """Counts and spreads over the cases.

    Returns:
        stage, params, key, digest, n_cases, bytes; cases per modality and datasource; number of cases without
        foreground; per axis min, median and max of shape (voxels), spacing (mm) and size (mm); per label the number of
        cases and of voxels.
    """
    cases = [manifest.cases[case_id] for case_id in sorted(manifest.cases)]
    sizes = [[n * s for n, s in zip(c.shape, c.spacing_mm, strict=True)] for c in cases]
    return {
        "stage": manifest.stage,
        "params": manifest.params,
        "key": manifest.key,
        "digest": manifest.digest(),
        "n_cases": len(cases),
        "n_without_foreground": sum(not c.labels for c in cases),
        "bytes": sum(c.bytes for c in cases),
        "modalities": dict(Counter(c.modality for c in cases)),
        "datasources": dict(Counter(c.datasource for c in cases)),
        "shape": _spread([c.shape for c in cases]),
        "spacing_mm": _spread([c.spacing_mm for c in cases]),
        "size_mm": _spread(sizes),
        "labels": {str(label): _label_summary(label, cases) for label in labels_all(manifest)},
    }


def _spread(rows: Iterable[Any]) -> dict[str, list[float]]:
    table = np.array(list(rows), dtype=np.float64)
    if not table.size:
        return {}
    return {
        "min": table.min(axis=0).tolist(),
        "median": np.median(table, axis=0).tolist(),
        "max": table.max(axis=0).tolist(),
    }


def _label_summary(label: int, cases: list[ManifestEntry]) -> dict[str, int]:
    counts = [c.labels[label] for c in cases if label in c.labels]
    return {"n_cases": len(counts), "n_voxels": sum(counts)}


def _write_details(manifest: Manifest, path: Path) -> None:
    axes = "xyz"
    labels = labels_all(manifest)
    head = ["case_id", "datasource", "modality", *(f"shape_{a}" for a in axes), *(f"spacing_{a}_mm" for a in axes)]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*head, "bytes", *_STATISTICS, *(f"voxels_{label}" for label in labels)])
        for case_id in sorted(manifest.cases):
            entry = manifest.cases[case_id]
            statistics = [entry.intensity[name] for name in _STATISTICS]
            voxels = [entry.labels.get(label, 0) for label in labels]
            fixed = [case_id, entry.datasource, entry.modality, *entry.shape, *entry.spacing_mm, entry.bytes]
            writer.writerow([*fixed, *statistics, *voxels])
