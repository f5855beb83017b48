"""Time reruns of a plan of 1000 small cases through three stages: nothing to do, and one case more.

    python benchmarks/bench_rerun.py --cases 1000

One JSON line: seconds of the first run, of a rerun that finds nothing to do (for each stage and in all), and of a run
with one case added.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from fran.io.files import file_digest
from fran.preprocessing.pipeline import Link, run_chain
from fran.preprocessing.stages.crop import Cut
from fran.preprocessing.stages.lbd import LbdStage
from fran.preprocessing.stages.pbd import PbdStage
from fran.preprocessing.stages.source import CaseJob, SourceParams
from fran.preprocessing.stages.stage import folder_of

SHAPE, PATCH = (24, 20, 16), (16, 16, 8)


def raw_case(folder: Path, number: int) -> CaseJob:
    rng = np.random.default_rng(number)
    lm = np.zeros(SHAPE, np.uint8)
    lm[4:18, 5:15, 3:12] = 1
    paths = []
    for kind, array in (("images", rng.integers(-100, 200, SHAPE).astype(np.int16)), ("lms", lm)):
        path = folder / kind / f"small_{number:04d}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.2, 2.0, 1.0])), path)
        paths.append(path)
    return CaseJob(f"small_{number:04d}", *paths, *map(file_digest, paths), "CT", "small")


def timed(jobs: list[CaseJob], links: list[Link]) -> dict[str, object]:
    start = time.perf_counter()
    summaries = run_chain(jobs, links)
    return {
        "s": round(time.perf_counter() - start, 2),
        "made": [s.done for s in summaries],
        "stages_s": [round(s.seconds, 2) for s in summaries],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    cases = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as temporary:
        jobs = [raw_case(Path(temporary) / "raw", number) for number in range(cases + 1)]
        source = SourceParams((1.0, 1.2, 2.0))
        lbd = LbdStage(source, Cut(PATCH, 2.0))
        stages = (source, lbd, PbdStage(lbd, Cut(PATCH), 0.25))
        links = [Link(stage, folder_of(Path(temporary) / stage.name, stage)) for stage in stages]
        figures = {"cases": cases, "first": timed(jobs[:-1], links), "rerun": timed(jobs[:-1], links)}
        print(json.dumps(figures | {"one_more": timed(jobs, links)}))


if __name__ == "__main__":
    main()
