"""Median time of one random patch read (image and label map, files in the page cache): one JSON line on stdout.

    python benchmarks/bench_patch_reads.py FOLDER_OF_CASE_FILES
    NNUNET_PEER=FOLDER_OF_nnunet_peer.py $NNUNET_PYTHON benchmarks/bench_patch_reads.py --peer PREPROCESSED_FOLDER

Readers are open, as in training; `reopened_ms` makes a new reader for each read. The peer opens a case for every patch,
as its loader does. Both cut the box at the volume's border. `*_cpu_ms` is CPU time of the thread, which other programs
disturb less than `*_ms`. `disk_mb` is in units of 2**20 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np


def median_ms(read: Callable[[], Any], reads: int, clock: Callable[[], float]) -> float:
    spent = []
    for _ in range(reads):
        start = clock()
        read()
        spent.append(1000 * (clock() - start))
    return round(median(spent), 3)


def fran_read(folder: Path, patch: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    from fran.io.casefile import CaseReader

    readers = [CaseReader(path) for path in sorted(folder.glob("*.h5"))]
    for reader in readers:
        reader.read_all()
    rng = np.random.default_rng(0)

    def read(anew: bool = False) -> Any:
        reader = readers[rng.integers(len(readers))]
        x, y, z = (int(rng.integers(max(1, n - patch + 1))) for n in reader.shape)
        size = tuple(min(patch, n - a) for a, n in zip((x, y, z), reader.shape, strict=True))
        return (CaseReader(reader.path) if anew else reader).read((x, y, z), size)

    return read, lambda: read(anew=True)


def peer_read(folder: Path, patch: int) -> Callable[[], Any]:
    sys.path.insert(0, os.environ["NNUNET_PEER"])
    from nnunet_peer import read_ms
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    np.random.seed(0)  # noqa: NPY002  (the peer draws from it)
    cases = nnUNetDatasetBlosc2(str(folder))
    for case in cases.identifiers:
        _ = [array[:] for array in cases.load_case(case)[:2]]
    return lambda: read_ms(cases, [patch] * 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--reads", type=int, default=150)
    args = parser.parse_args()
    again = None
    if args.peer:
        read = peer_read(args.folder, args.patch)
    else:
        read, again = fran_read(args.folder, args.patch)
    figures = {"read_patch_ms": median_ms(read, args.reads, time.perf_counter)}
    figures["read_patch_cpu_ms"] = median_ms(read, args.reads, time.thread_time)
    if again:
        figures["reopened_ms"] = median_ms(again, args.reads, time.perf_counter)
    figures["disk_mb"] = round(sum(f.stat().st_size for f in args.folder.iterdir() if f.is_file()) / 2**20, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
