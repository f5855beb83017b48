"""Fidelity and time of resampling beside nnU-Net's default: one JSON line a case, then one of means, on stdout.

Run with the peer's interpreter, which has all that fran needs here once `isal` is installed there:

    PYTHONPATH=. $NNUNET_PYTHON benchmarks/bench_resampling.py FOLDER --spacing 1.5 1.5 3

Each image and label map of FOLDER/images and FOLDER/lms goes native grid → spacing → native grid, by each side with its
own grids. `*_dice` is the mean over labels of the Dice between the label map and what came back, `*_dice_worst` the
smallest; `*_rmse` the root mean square difference of the image in raw units inside the box of the labels widened by 10
voxels; `*_image_s` and `*_lm_s` the CPU seconds of the way there. nnU-Net: order 3 for images, order 1 of one-hot for
label maps, slice-wise where it finds anisotropy, by `resample_data_or_seg_to_shape` as its preprocessor calls it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.geometry import resampled_grid
from fran.io.volume import Volume, read_volume
from fran.preprocessing.resampling import resample_image, resample_labels

Array = NDArray[Any]


def timed(function: Callable[..., Array], *args: Any) -> tuple[Array, float]:
    start = time.process_time()
    return function(*args), time.process_time() - start


def fran_ways(volume: Volume, spacing_mm: Sequence[float]) -> tuple[Callable[..., Array], Callable[..., Array]]:
    there = resampled_grid(volume.grid, spacing_mm)

    def go(array: Array, is_lm: bool) -> Array:
        return (resample_labels if is_lm else resample_image)(array, volume.grid, there)

    def back(array: Array, is_lm: bool) -> Array:
        return (resample_labels if is_lm else resample_image)(array, there, volume.grid)

    return go, back


def peer_ways(volume: Volume, spacing_mm: Sequence[float]) -> tuple[Callable[..., Array], Callable[..., Array]]:
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

    native, wanted = volume.grid.spacing_mm[::-1], tuple(spacing_mm)[::-1]
    shape = compute_new_shape(volume.grid.shape[::-1], native, wanted)

    def run(array: Array, is_lm: bool, to: Any, old: Any, new: Any) -> Array:
        call = partial(resample_data_or_seg_to_shape, order_z=0, force_separate_z=None)
        turned = array.transpose(2, 1, 0)[None].astype(np.int16 if is_lm else np.float32)
        return np.asarray(call(turned, to, old, new, is_seg=is_lm, order=1 if is_lm else 3))[0].transpose(2, 1, 0)

    def go(array: Array, is_lm: bool) -> Array:
        return run(array, is_lm, shape, native, wanted)

    def back(array: Array, is_lm: bool) -> Array:
        return run(array, is_lm, volume.grid.shape[::-1], wanted, native)

    return go, back


def round_trip(name: str, ways: tuple[Callable[..., Array], ...], image: Array, lm: Array) -> dict[str, float]:
    go, back = ways
    there, image_s = timed(go, image, False)
    lm_there, lm_s = timed(go, lm, True)
    found, returned = back(there, False), back(lm_there, True)
    dice = []
    for value in np.unique(lm)[1:]:
        a, b = lm == value, returned == value
        dice.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    box = tuple(slice(max(0, int(i.min()) - 10), int(i.max()) + 11) for i in np.nonzero(lm))
    difference = found[box].astype(np.float64) - image[box]
    figures = {"dice": np.mean(dice), "dice_worst": np.min(dice), "rmse": np.sqrt(np.mean(difference**2))}
    figures |= {"image_s": image_s, "lm_s": lm_s}
    return {f"{name}_{key}": round(float(value), 4) for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.5, 1.5, 3.0], metavar=("X", "Y", "Z"))
    parser.add_argument("--cases", type=int, default=100)
    args = parser.parse_args()
    rows = []
    for path in sorted((args.folder / "images").iterdir())[: args.cases]:
        image, lm = read_volume(path), read_volume(args.folder / "lms" / path.name, role="lm")
        row: dict[str, float] = {}
        for name, ways in (("fran", fran_ways), ("peer", peer_ways)):
            row |= round_trip(name, ways(image, args.spacing), image.array, lm.array)
        rows.append(row)
        print(json.dumps({"case": path.name, **row}), flush=True)
    means = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
    print(json.dumps({"folder": args.folder.name, "spacing_mm": args.spacing, "cases": len(rows), **means}))


if __name__ == "__main__":
    main()
