"""Memory and time of a label map of many dense labels: to a spacing and back, its boxes, its sample of voxels.

    python benchmarks/bench_many_labels.py --labels 117 --shape 512 512 300 --spacing 1.5 1.5 1.5

Synthetic: each voxel of an ellipsoid takes the label of the nearest of random points, with wavy borders. One JSON line:
CPU seconds of each step, `before_mb` and `peak_mb`, the largest resident memory before and after the steps, and the
Dice of what came back, mean and worst label.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fran.geometry import Grid, resampled_grid
from fran.preprocessing.foreground import label_boxes, sample_fg_indices
from fran.preprocessing.resampling import resample_labels

SPACING_MM = (0.78, 0.78, 1.0)
Labels = NDArray[Any]
ResultT = TypeVar("ResultT")


def cells(shape: tuple[int, int, int], labels: int, seed: int = 0) -> Labels:
    """Label map (x, y, z) as an image reader gives it, x quickest in memory."""
    points = cKDTree(np.random.default_rng(seed).uniform(0.1, 0.9, (labels, 3)))
    y, z = np.meshgrid(*(np.arange(n) / n for n in shape[1:]), indexing="ij")
    lm = np.empty(shape, np.uint8 if labels < 256 else np.uint16, order="F")
    for x in range(shape[0]):
        place = np.stack([np.full_like(y, x / shape[0]) + 0.01 * np.sin(40 * y), y, z], axis=-1)
        plane = points.query(place.reshape(-1, 3))[1].reshape(y.shape) + 1
        plane[(((place - 0.5) / 0.45) ** 2).sum(axis=-1) > 1] = 0
        lm[x] = plane
    return lm


def dices(a: Labels, b: Labels, n: int) -> Labels:
    """Dice of each label from 1 to n that the first map has, slice by slice."""
    tallies = np.zeros((3, n + 1), np.int64)
    for p, q in zip(a, b, strict=True):
        for row, values in zip(tallies, (p, q, p[p == q]), strict=True):
            row += np.bincount(values.ravel(), minlength=n + 1)
    first, second, both = tallies[:, 1:][:, tallies[0, 1:] > 0]
    return 2 * both / (first + second)


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=117)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 300], metavar=("X", "Y", "Z"))
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.5, 1.5, 1.5], metavar=("X", "Y", "Z"))
    args = parser.parse_args()
    x, y, z = args.shape
    lm = cells((x, y, z), args.labels)
    raw = Grid(lm.shape, np.diag([*SPACING_MM, 1.0]))
    stored = resampled_grid(raw, args.spacing)
    figures: dict[str, object] = {"labels": args.labels, "shape": args.shape, "before_mb": peak_mb()}

    def timed(step: str, function: Callable[[], ResultT]) -> ResultT:
        start = time.process_time()
        result = function()
        figures[f"{step}_s"] = round(time.process_time() - start, 2)
        return result

    there = timed("there", lambda: resample_labels(lm, raw, stored))
    back = timed("back", lambda: resample_labels(there, stored, raw))
    counts, boxes = timed("boxes", lambda: label_boxes(lm))
    timed("sample", lambda: sample_fg_indices(lm, counts, boxes, case_id="cells"))
    found = dices(lm, back, args.labels)
    figures |= {"peak_mb": peak_mb(), "dice": round(float(found.mean()), 4), "dice_worst": round(float(found.min()), 4)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
