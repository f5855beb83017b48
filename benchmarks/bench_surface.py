"""Time and memory of surface metrics beside MONAI's. One JSON line on standard output.

    python benchmarks/bench_surface.py [--monai-labels 14] [--threads 1]

A label map of organ-like shapes with 14 labels, 30 million voxels, and a prediction of it as a trained network makes
one: boundaries off by a few mm, one organ badly off, islands far away. Both sides compute HD95 and NSD of every label.
MONAI gets its one-hot tensors for nothing (their making is timed apart): that is how its metrics are called in a loop.
"""

from __future__ import annotations

import json
import os
from time import perf_counter
from typing import Any

from organ_case import make_case, options, peak_rss_mb, timed


def main() -> None:
    parser = options(__doc__, monai_labels=14)
    parser.add_argument("--tolerance", type=float, default=2.0, help="of NSD, in mm")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    pred, ref = make_case(tuple(asked.shape), asked.labels, asked.seed)
    labels, spacing = list(range(1, asked.labels + 1)), tuple(asked.spacing)
    before = peak_rss_mb()
    found, own_s = timed(own, pred, ref, labels, spacing, asked.tolerance, repeats=asked.repeats)
    peak = peak_rss_mb() - before
    nsd, nsd_s = timed(nsd_alone, pred, ref, labels, spacing, asked.tolerance, repeats=asked.repeats)
    line: dict[str, Any] = {
        "bench": "surface", "shape": list(pred.shape), "labels": asked.labels, "threads": asked.threads,
        "surface_vox": sum(s.pred_surface_vox + s.ref_surface_vox for s in found.values()),
        "fran_s": round(own_s, 3), "fran_nsd_alone_s": round(nsd_s, 3), "fran_extra_mb": peak,
    }  # fmt: skip
    if asked.monai_labels:
        line |= beside_monai(pred, ref, labels[: asked.monai_labels], spacing, asked.tolerance, found, own_s)
    assert all(abs(nsd[v] - found[v].nsd) < 1e-12 for v in labels)
    print(json.dumps(line))


def own(pred: Any, ref: Any, labels: list[int], spacing: tuple[float, ...], tolerance: float) -> Any:
    from fran.metrics.surface import surface_scores

    return surface_scores(pred, ref, labels, spacing, tolerance)


def nsd_alone(pred: Any, ref: Any, labels: list[int], spacing: tuple[float, ...], tolerance: float) -> Any:
    from fran.metrics.surface import surface_dice

    return surface_dice(pred, ref, labels, spacing, tolerance)


def beside_monai(
    pred: Any, ref: Any, labels: list[int], spacing: tuple[float, ...], tolerance: float, found: Any, own_s: float
) -> dict[str, Any]:
    """MONAI label by label, so that its tensors fit into memory; scaled to all labels where it got fewer."""
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    seconds = one_hot_s = worst = 0.0
    for label in labels:
        started = perf_counter()
        p, r = (torch.from_numpy(lm == label).float()[None, None] for lm in (pred, ref))
        ready = perf_counter()
        how: dict[str, Any] = {"include_background": True, "spacing": spacing}
        nsd = float(compute_surface_dice(p, r, [tolerance], **how))
        hd95 = float(compute_hausdorff_distance(p, r, percentile=95, **how))
        seconds += perf_counter() - ready
        one_hot_s += ready - started
        worst = max(worst, abs(nsd - found[label].nsd), abs(hd95 - found[label].hd95_mm))
    scaled = seconds * len(found) / len(labels)
    return {
        "monai_labels": len(labels), "monai_s": round(seconds, 2), "monai_one_hot_s": round(one_hot_s, 2),
        "monai_all_labels_s": round(scaled, 2), "ratio": round(own_s / scaled, 4), "largest_difference": worst,
    }  # fmt: skip


if __name__ == "__main__":
    main()
