"""Time a project of many small synthetic cases: one JSON line a step on stdout.

    python benchmarks/bench_project.py --cases 1000 --num-processes 1

Steps: `add_first` (all cases new), `properties_first`, `add_noop` (nothing changed), `properties_noop`, `add_one` (one
case more), `properties_one`, `status`. `seconds` is wall time, `cpu_s` processor time of this process, `peak_rss_mb`
the largest resident memory of this process so far; `one_case_s` is what one case costs when it is read alone, to be
subtracted from `add_one`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from fran.datasources.datasource import Datasource
from fran.datasources.measure import CaseTask, measure_case
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.projects.status import project_status

SHAPE = (40, 36, 28)
AFFINE = np.diag([1.1, 0.9, 2.0, 1.0])


def write_case(folder: Path, k: int) -> tuple[Path, Path]:
    rng = np.random.default_rng(k)
    image = rng.integers(-1000, 1500, SHAPE).astype(np.int16)
    lm = np.zeros(SHAPE, np.uint8)
    x, y, z = rng.integers(0, 10, 3)
    lm[x : x + 28, y : y + 24, z : z + 16] = 1
    if k % 3:
        lm[x : x + 8, y : y + 6, z : z + 5] = 2
    paths = folder / "images" / f"bench_{k:05d}.nii", folder / "lms" / f"bench_{k:05d}.nii"
    for array, path in zip((image, lm), paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return paths


def timed(step: str, what: Callable[[], Any], **facts: Any) -> None:
    start, cpu = time.perf_counter(), time.process_time()
    what()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"seconds": round(seconds, 3), "cpu_s": round(cpu, 3), "peak_rss_mb": round(peak, 1)}
    print(json.dumps({"step": step, **figures, **facts}), flush=True)


def measure(n: int, num_processes: int, root: Path) -> None:
    raw = root / "raw" / "bench"
    for k in range(n):
        write_case(raw, k)
    project = Project("bench", ProjectFolders("bench", root / "projects", root / "cold", root / "rapid"))
    project.create()
    source = Datasource(raw, labels={1: "organ", 2: "lesion"}, modality="CT")

    def add() -> None:
        project.add_data([source], num_workers=num_processes)

    timed("add_first", add, cases=n, num_processes=num_processes)
    timed("properties_first", project.maybe_store_projectwide_properties)
    timed("add_noop", add)
    timed("properties_noop", project.maybe_store_projectwide_properties)
    image, lm = write_case(raw, n)
    start = time.perf_counter()
    measure_case(CaseTask("bench_alone", image, lm, 0))
    timed("add_one", add, one_case_s=round(time.perf_counter() - start, 4))
    timed("properties_one", project.maybe_store_projectwide_properties)
    timed("status", lambda: project_status(project))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--num-processes", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        measure(args.cases, args.num_processes, Path(root))


if __name__ == "__main__":
    main()
