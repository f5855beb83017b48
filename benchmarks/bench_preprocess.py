"""Time mode `source` on a folder with images/ and lms/: one JSON line of figures on stdout.

    python benchmarks/bench_preprocess.py FOLDER --spacing 1.5 1.5 3 --modality CT --num-processes 1

`cases_per_s` and `s_per_case` are wall time of the whole stage, start of the workers included. `peak_rss_mb` is the
largest resident memory of this process, `peak_rss_worker_mb` that of the largest worker (0 with one process).
`rerun_s` is a second run, which finds nothing to do. `ms_per_patch` is one random crop of image and label map, files in
the page cache and open; crops that leave the volume are padded. `disk_mb` is what lies on disk afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from fran.io.files import file_digest
from fran.io.manifest import Manifest
from fran.io.volume import EXTENSIONS, stem
from fran.preprocessing.run import run_stage
from fran.preprocessing.stages.source import CaseJob, SourceParams
from fran.preprocessing.stages.stage import folder_of


def find_jobs(folder: Path, modality: str) -> list[CaseJob]:
    images = sorted(p for p in (folder / "images").iterdir() if p.name.lower().endswith(EXTENSIONS))
    lms = [folder / "lms" / p.name for p in images]
    digests = [(file_digest(i), file_digest(m)) for i, m in zip(images, lms, strict=True)]
    return [
        CaseJob(stem(i), i, m, *digest, modality, folder.name)
        for i, m, digest in zip(images, lms, digests, strict=True)
    ]


def patch_ms(folder: Path, edge: int, reads: int) -> float:
    manifest = Manifest.load(folder)
    readers = [manifest.reader(case_id) for case_id in manifest.cases]
    for reader in readers:
        reader.read_all()
    rng = np.random.default_rng(0)
    places = []
    for i in rng.integers(0, len(readers), reads):
        x, y, z = (int(rng.integers(0, max(1, n - edge + 1))) for n in readers[i].shape)
        places.append((readers[i], (x, y, z)))
    start = time.perf_counter()
    for reader, place in places:
        reader.read(place, (edge, edge, edge))
    return 1000 * (time.perf_counter() - start) / reads


def measure(args: argparse.Namespace, work: Path) -> dict[str, object]:
    jobs = find_jobs(args.folder, args.modality)
    params = SourceParams(tuple(args.spacing), clip_hu=tuple(args.clip_hu) if args.clip_hu else None)
    out = folder_of(work, params)
    first = run_stage(jobs, params, out, args.num_processes)
    peak = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    again = run_stage(jobs, params, out, args.num_processes)
    return {
        "folder": args.folder.name,
        "cases": len(jobs),
        "num_processes": args.num_processes,
        "done": first.done,
        "cases_per_s": round(len(jobs) / first.seconds, 3),
        "s_per_case": round(first.seconds / len(jobs), 3),
        "peak_rss_mb": round(peak[0], 1),
        "peak_rss_worker_mb": round(peak[1], 1),
        "rerun_s": round(again.seconds, 4),
        "patch": args.patch,
        "ms_per_patch": round(patch_ms(out, args.patch, args.reads), 3),
        "disk_mb": round(sum(p.stat().st_size for p in out.glob("*.h5")) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with images/ and lms/")
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.5, 1.5, 3.0], metavar=("X", "Y", "Z"))
    parser.add_argument("--modality", default="CT")
    parser.add_argument("--clip-hu", type=int, nargs=2, metavar=("LOW", "HIGH"))
    parser.add_argument("--num-processes", type=int, default=1)
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--reads", type=int, default=100)
    parser.add_argument("--out", type=Path, help="empty folder for the case files (default: a temporary one)")
    args = parser.parse_args()
    if args.out:
        figures = measure(args, args.out)
    else:
        with tempfile.TemporaryDirectory() as work:
            figures = measure(args, Path(work))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
