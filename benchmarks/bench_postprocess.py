"""Time and memory of post-processing beside SciPy's and MONAI's. One JSON line on standard output.

    python benchmarks/bench_postprocess.py [--shape 512 512 200] [--labels 14] [--repeats 3]

A label map of organ-like shapes and islands as a network leaves them. Every side keeps the largest component of each
label; MONAI by `KeepLargestConnectedComponent` (it needs scikit-image), SciPy as most scripts do, label by label over
the whole volume, and SciPy inside each label's box. fran does the same, and once more with dusting and with holes
filled. Each side runs in a process of its own with one thread, so that the memory beside the label map is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
from time import perf_counter, process_time
from typing import Any

import numpy as np

SIDES = ("fran", "fran_dust", "fran_fill", "scipy", "scipy_boxes", "monai")


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = "1"
    line: dict[str, Any] = {"bench": "postprocess", "shape": options.shape, "labels": options.labels}
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        # made here: what its making takes must not hide what a side takes
        np.save(f"{folder}/case.npy", make_case(tuple(options.shape), options.labels, options.seed))
        for side in options.sides:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(measured, (side, f"{folder}/case.npy", options.labels, options.repeats))
            digests[side] = found.pop("digest")
            line |= {f"{side}_{key}": value for key, value in found.items()}
    same = {side: digest for side, digest in digests.items() if side in ("fran", "scipy", "scipy_boxes", "monai")}
    line["equal"] = len(set(same.values())) == 1
    print(json.dumps(line))


def measured(side: str, file: str, n_labels: int, repeats: int) -> dict[str, Any]:
    """Medians of wall and CPU seconds, the peak of memory beside the label map, and a digest of the result."""
    import zlib

    function = globals()[side]
    function(make_case((40, 40, 30), 2, 0), 2)  # imports
    lm = np.load(file)
    seconds, cpu, result = [], [], lm
    before = _peak_rss_mb()
    for _ in range(repeats):
        copy = lm.copy()
        started, started_cpu = perf_counter(), process_time()
        result = function(copy, n_labels)
        seconds.append(perf_counter() - started)
        cpu.append(process_time() - started_cpu)
        del copy
    beside = _peak_rss_mb() - before - lm.nbytes // (1 << 20)  # less the copy
    digest = zlib.crc32(np.ascontiguousarray(np.asarray(result)).tobytes())
    return {"s": _round(seconds), "cpu_s": _round(cpu), "extra_mb": beside, "digest": digest}


def fran(lm: Any, n_labels: int) -> Any:
    return _fran(lm, n_labels, k_largest=1)


def fran_dust(lm: Any, n_labels: int) -> Any:
    return _fran(lm, n_labels, dusting_threshold=100)


def fran_fill(lm: Any, n_labels: int) -> Any:
    return _fran(lm, n_labels, k_largest=1, fill_holes=True)


def _fran(lm: Any, n_labels: int, **rule: Any) -> Any:
    from fran.inference.postprocess import apply_rules
    from fran.projects.mask_labels import LabelRule

    apply_rules(lm, {value: LabelRule(**rule) for value in range(1, n_labels + 1)}, 1.0)
    return lm


def scipy(lm: Any, n_labels: int) -> Any:
    for value in range(1, n_labels + 1):
        _keep_largest(lm, value)
    return lm


def scipy_boxes(lm: Any, n_labels: int) -> Any:
    from scipy import ndimage

    for value, box in enumerate(ndimage.find_objects(lm, n_labels), start=1):
        if box is not None:
            _keep_largest(lm[box], value)
    return lm


def _keep_largest(part: Any, value: int) -> None:
    from scipy import ndimage

    numbers, n = ndimage.label(part == value, np.ones((3, 3, 3)))
    if n > 1:
        sizes = np.bincount(numbers.ravel())
        sizes[0] = 0
        part[(numbers != sizes.argmax()) & (numbers > 0)] = 0


def monai(lm: Any, n_labels: int) -> Any:
    from monai.transforms import KeepLargestConnectedComponent

    transform = KeepLargestConnectedComponent(list(range(1, n_labels + 1)), is_onehot=False, independent=True)
    return np.asarray(transform(lm[None]))[0].astype(np.uint8)


def make_case(shape: tuple[int, ...], n_labels: int, seed: int) -> Any:
    """(x, y, z) uint8: ellipsoids of an organ's size, each with holes, with islands near by and one far away."""
    rng = np.random.default_rng(seed)
    lm = np.zeros(shape, np.uint8)
    for value in range(1, n_labels + 1):
        radii = rng.uniform(0.05, 0.19, 3) * shape
        centre = np.array([rng.uniform(r, n - r) for r, n in zip(radii, shape, strict=True)])
        low = np.maximum(0, np.floor(centre - radii)).astype(int)
        high = np.minimum(shape, np.ceil(centre + radii) + 1).astype(int)
        axes = [(np.arange(a, b) - c) / r for a, b, c, r in zip(low, high, centre, radii, strict=True)]
        inside = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 < 1
        part = lm[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        part[inside & (rng.random(part.shape) > 2e-4)] = value
    for value in range(1, n_labels + 1):
        for size in (1, 2, 3, 5):
            corner = [int(rng.integers(0, max(1, n - size))) for n in shape]
            lm[tuple(slice(c, c + size) for c in corner)] = value
    return lm


def _round(values: list[float]) -> float:
    return round(float(np.median(values)), 3)


def _peak_rss_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200))
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
