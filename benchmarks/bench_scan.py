"""Time a scan of raw data: one JSON line of figures on stdout.

    python benchmarks/bench_scan.py scan FOLDER --workers 2        every file checked and measured, from nothing
    python benchmarks/bench_scan.py small --cases 1000             no-op, and one case more, on small synthetic cases
    PEER/bin/python benchmarks/bench_scan.py peer FOLDER --work W --workers 2
                                    nnU-Net's verify_dataset_integrity and fingerprint of the same files

`scan_*` is wall time, CPU time and peak resident memory of the whole process tree, imports left out, the start of
workers included; medians over `--repeats`. FRAN_BENCH_TOOLS names the folder of meter.py (and of nnunet_peer.py for
`peer`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, os.environ.get("FRAN_BENCH_TOOLS", "."))

from meter import Meter

Figures = dict[str, Any]


def measured(work: Callable[[], object], repeats: int, cases: int) -> Figures:
    meters = []
    for _ in range(repeats):
        with Meter() as meter:
            work()
        meters.append(meter)
    wall = median(m.wall_s for m in meters)
    return {
        "cases": cases,
        "scan_wall_s": wall,
        "scan_cpu_s": median(m.cpu_s for m in meters),
        "scan_peak_rss_mb": max(m.peak_rss_mb for m in meters),
        "cases_per_s": cases / wall,
    }


def scan(args: argparse.Namespace) -> Figures:
    from fran.datasources.datasource import Datasource

    source = Datasource(args.folder)
    with tempfile.TemporaryDirectory() as temporary:

        def once() -> None:
            shutil.rmtree(f"{temporary}/store", ignore_errors=True)
            report = source.scan(f"{temporary}/store", num_workers=args.workers)
            assert report.n_read == len(source.pairs().pairs), report.errors

        return {"framework": "fran", "workers": args.workers, **measured(once, args.repeats, len(source.pairs().pairs))}


def peer(args: argparse.Namespace) -> Figures:
    from importlib.metadata import version

    for name in ("raw", "preprocessed", "results"):
        folder = (args.work / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder)
    import nnunet_peer
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    raw = args.work.resolve() / "raw" / nnunet_peer.DATASET
    nnunet_peer.link_raw(argparse.Namespace(raw=raw, data=args.folder, modality=args.modality, splits=None))

    def once() -> None:
        shutil.rmtree(args.work / "preprocessed" / nnunet_peer.DATASET, ignore_errors=True)
        verify_dataset_integrity(str(raw), args.workers)
        quiet = {"verbose": False, "show_progress_bar": False}
        extract_fingerprint_dataset(nnunet_peer.DATASET_ID, num_processes=args.workers, **quiet)

    cases = len(list((raw / "labelsTr").iterdir()))
    figures = measured(once, args.repeats, cases)
    return {"framework": "nnunetv2", "version": version("nnunetv2"), "workers": args.workers, **figures}


def small(args: argparse.Namespace) -> Figures:
    import nibabel
    import numpy as np

    from fran.datasources.datasource import Datasource

    rng = np.random.default_rng(0)

    def write(folder: Path, k: int) -> None:
        lm = np.zeros((24, 28, 20), np.uint8)
        lm[4:14, 5:16, 3:12] = rng.integers(0, 3, (10, 11, 9))
        for side, array in (("images", rng.integers(-1000, 1000, lm.shape).astype(np.int16)), ("lms", lm)):
            nibabel.save(
                nibabel.Nifti1Image(array, np.diag([1.2, 1.2, 2.5, 1])), folder / side / f"small_{k:05d}.nii.gz"
            )

    def timed(source: Datasource, store: Path) -> float:
        start = time.perf_counter()
        source.scan(store, num_workers=args.workers)
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as temporary:
        folder, store = Path(temporary) / "small", Path(temporary) / "store"
        for side in ("images", "lms"):
            (folder / side).mkdir(parents=True)
        for k in range(args.cases):
            write(folder, k)
        source = Datasource(folder, modality="CT", labels={1: "a", 2: "b"})
        figures = {"framework": "fran", "cases": args.cases, "first_s": timed(source, store)}
        figures["noop_s"] = median(timed(source, store) for _ in range(args.repeats))
        added = []
        for k in range(args.repeats):
            write(folder, args.cases + k)
            added.append(timed(source, store))
        return figures | {"one_more_s": median(added), "one_alone_s": figures["first_s"] / args.cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (scan, peer, small):
        sub = commands.add_parser(run.__name__)
        sub.set_defaults(run=run)
        sub.add_argument("--workers", type=int, default=2)
        sub.add_argument("--repeats", type=int, default=1)
        if run is small:
            sub.add_argument("--cases", type=int, default=1000)
        else:
            sub.add_argument("folder", type=Path)
        if run is peer:
            sub.add_argument("--work", type=Path, required=True)
            sub.add_argument("--modality", default="CT")
    args = parser.parse_args()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print goes to stderr
    load = os.getloadavg()[0]
    answer.write(json.dumps({"load_before": load, **args.run(args)}) + "\n")


if __name__ == "__main__":
    main()
