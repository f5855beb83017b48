"""Scores on a plan's grid to a label map on the image's own: time, memory, and how many voxels equal the full way.

    python benchmarks/bench_export.py --classes 61 [--shape 512 512 200] [--check]

Smooth random scores of float32 at 1.5 x 1.5 x 3 mm, for an image of 0.78 x 0.78 x 2.5 mm. `export_*` is fran's running
argmax over slabs; `beyond_scores_mb` is its peak of memory beyond the scores and the label map. `--check` interpolates
every class at every voxel by SciPy, in double precision, as the full-resolution way does, and counts the equal voxels.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from scipy import ndimage

from fran.geometry import Grid
from fran.preprocessing.scores import resample_probabilities_slabwise


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Peak:
    """Largest resident memory while the block runs, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.before = self.mb = rss_mb()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.mb = max(self.mb, rss_mb())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def smooth_scores(n_classes: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """(C, x, y, z) float32: noise on a grid of a thirteenth of the voxels along each axis, interpolated."""
    rng = np.random.default_rng(seed)
    coarse = [max(2, n // 13) for n in shape]
    scores = np.empty((n_classes, *shape), np.float32)
    for channel in scores:
        noise = rng.normal(size=coarse).astype(np.float32)
        ndimage.zoom(noise, [n / c for n, c in zip(shape, coarse, strict=True)], channel, order=1)
    return scores


def full_way(scores: np.ndarray, src: Grid, dst: Grid) -> np.ndarray:
    """Channel with the largest score, every class interpolated at every voxel, a few planes at a time."""
    to_src = np.linalg.inv(src.affine) @ dst.affine
    out = np.empty(dst.shape, np.uint8)
    x, y = (np.arange(n) * to_src[i, i] + to_src[i, 3] for i, n in enumerate(dst.shape[:2]))
    for z in range(dst.shape[2]):
        places = np.stack(np.broadcast_arrays(x[:, None], y[None, :], z * to_src[2, 2] + to_src[2, 3]))
        best = np.full(dst.shape[:2], -np.inf)
        for c, channel in enumerate(scores):
            value = ndimage.map_coordinates(channel, places, np.float64, order=1, mode="nearest")
            out[..., z][value > best] = c
            np.maximum(best, value, out=best)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--classes", type=int, default=61, help="background included")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200))
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    dst = Grid(tuple(args.shape), np.diag([0.78, 0.78, 2.5, 1.0]))
    small = tuple(round(n * a / b) for n, a, b in zip(args.shape, (0.78, 0.78, 2.5), (1.5, 1.5, 3.0), strict=True))
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    affine[:3, 3] = (affine[:3, :3] - dst.affine[:3, :3]).diagonal() / 2  # the corners of both grids coincide
    src = Grid(small, affine)
    scores = smooth_scores(args.classes, small)
    wall, cpu = perf_counter(), process_time()
    with Peak() as peak:
        labels = resample_probabilities_slabwise(scores, src, dst)
    figures = {
        "classes": args.classes,
        "shape": list(dst.shape),
        "scores_mb": round(scores.nbytes / 2**20, 1),
        "export_wall_s": round(perf_counter() - wall, 2),
        "export_cpu_s": round(process_time() - cpu, 2),
        "beyond_scores_mb": round(peak.mb - peak.before - labels.nbytes / 2**20, 1),
    }
    if args.check:
        wall = perf_counter()
        reference = full_way(scores, src, dst)
        figures |= {"full_way_wall_s": round(perf_counter() - wall, 1), "equal": float((labels == reference).mean())}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
