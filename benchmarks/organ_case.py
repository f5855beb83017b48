"""What bench_surface.py and bench_score.py share: the case that they measure, their options, and how they time."""

from __future__ import annotations

import argparse
import resource
import sys
from time import perf_counter
from typing import Any


def options(doc: str | None, monai_labels: int) -> argparse.ArgumentParser:
    """The options that both have; nothing is imported that reads the number of threads.

    Args:
        doc: of the benchmark, whose first line is shown.
        monai_labels: how many labels MONAI gets where nothing is said.
    """
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0] if doc else None)
    parser.add_argument("--shape", type=int, nargs=3, default=(384, 384, 204))
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.9, 0.9, 1.5))
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--monai-labels", type=int, default=monai_labels, help="labels that MONAI gets; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def timed(function: Any, *arguments: Any, repeats: int) -> tuple[Any, float]:
    """Result and the median of some timings."""
    import numpy as np

    seconds = []
    for _ in range(repeats):
        started = perf_counter()
        result = function(*arguments)
        seconds.append(perf_counter() - started)
    return result, float(np.median(seconds))


def make_case(shape: tuple[int, ...], n_labels: int, seed: int) -> tuple[Any, Any]:
    """Prediction and reference (x, y, z) uint8: wobbly ellipsoids of 1 to 60 ml size ratio on a clinical grid."""
    import numpy as np

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
    import numpy as np

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


def peak_rss_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
