"""Time and memory of surface metrics beside MONAI's. One JSON line on standard output.

    python benchmarks/bench_surface.py [--monai-labels 14] [--threads 1]

A label map of organ-like shapes with 14 labels, 30 million voxels, and a prediction of it as a trained network makes
one: boundaries off by a few mm, one organ badly off, islands far away. Both sides compute HD95 and NSD of every label.
MONAI gets its one-hot tensors for nothing (their making is timed apart): that is how its metrics are called in a loop.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from time import perf_counter
from typing import Any

import numpy as np


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    pred, ref = make_case(tuple(options.shape), options.labels, options.seed)
    labels, spacing = list(range(1, options.labels + 1)), tuple(options.spacing)
    before = _peak_rss_mb()
    found, own_s = timed(own, pred, ref, labels, spacing, options.tolerance, repeats=options.repeats)
    peak = _peak_rss_mb() - before
    nsd, nsd_s = timed(nsd_alone, pred, ref, labels, spacing, options.tolerance, repeats=options.repeats)
    line: dict[str, Any] = {
        "bench": "surface", "shape": list(pred.shape), "labels": options.labels, "threads": options.threads,
        "surface_vox": sum(s.pred_surface_vox + s.ref_surface_vox for s in found.values()),
        "fran_s": round(own_s, 3), "fran_nsd_alone_s": round(nsd_s, 3), "fran_extra_mb": peak,
    }  # fmt: skip
    if options.monai_labels:
        line |= beside_monai(pred, ref, labels[: options.monai_labels], spacing, options.tolerance, found, own_s)
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


def timed(function: Any, *arguments: Any, repeats: int) -> tuple[Any, float]:
    """Result and the median of some timings."""
    seconds = []
    for _ in range(repeats):
        started = perf_counter()
        result = function(*arguments)
        seconds.append(perf_counter() - started)
    return result, float(np.median(seconds))


def make_case(shape: tuple[int, ...], n_labels: int, seed: int) -> tuple[Any, Any]:
    """Prediction and reference (x, y, z) uint8: wobbly ellipsoids of 1 to 60 ml size ratio on a clinical grid."""
    rng = np.random.default_rng(seed)
    ref, pred = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for label in range(1, n_labels + 1):
        radii = rng.uniform(0.05, 0.19, 3) * shape
        centre = np.array([rng.uniform(r, n - r) for r, n in zip(radii, shape, strict=True)])
        shift = rng.normal(0, 6 if label == 1 else 1, 3)
        _paint(ref, centre, radii, label, rng.uniform(0, 6, 3))
        _paint(pred, centre + shift, radii * rng.uniform(0.94, 1.06, 3), label, rng.uniform(0, 6, 3))
    for label in range(1, n_labels + 1):
        corner = [int(rng.integers(0, n - 6)) for n in shape]
        pred[tuple(slice(c, c + 4) for c in corner)] = label
    return pred, ref


def _paint(lm: Any, centre: Any, radii: Any, label: int, phase: Any) -> None:
    low = np.maximum(0, np.floor(centre - 1.1 * radii)).astype(int)
    high = np.minimum(lm.shape, np.ceil(centre + 1.1 * radii) + 1).astype(int)
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    x, y, z = ((axis - c) / r for axis, c, r in zip(axes, centre, radii, strict=True))
    distance = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2
    wobble = 0.03 * (
        np.sin(9 * x + phase[0])[:, None, None] + np.sin(9 * y + phase[1])[:, None] + np.sin(9 * z + phase[2])
    )
    part = lm[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    part[distance + wobble < 1] = label


def _peak_rss_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shape", type=int, nargs=3, default=(384, 384, 204))
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.9, 0.9, 1.5))
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--monai-labels", type=int, default=14, help="how many of them MONAI gets; 0 for none")
    parser.add_argument("--tolerance", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
