"""Time and memory of scoring one case, metric by metric. One JSON line on standard output.

    python benchmarks/bench_score.py [--monai-labels 3] [--threads 1]

The case of bench_surface.py (14 organ-like labels, 30 million voxels, islands far away), read from two .nii.gz files as
`fran score` reads them, then measured with everything, and with each metric alone. MONAI computes Dice, HD95 and NSD
from one-hot tensors that it gets for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from bench_surface import _peak_rss_mb, beside_monai, make_case, timed

    from fran.evaluation.measures import METRICS, Measures, measure

    pred, ref = make_case(tuple(options.shape), options.labels, options.seed)
    labels, spacing = list(range(1, options.labels + 1)), tuple(options.spacing)
    measure(pred[:32], ref[:32], labels, spacing, Measures())  # imports
    line: dict[str, Any] = {
        "bench": "score", "shape": list(pred.shape), "labels": options.labels, "threads": options.threads,
    }  # fmt: skip
    before = _peak_rss_mb()
    found, everything_s = timed(measure, pred, ref, labels, spacing, Measures(), repeats=options.repeats)
    line["all_s"], line["extra_mb"] = round(everything_s, 3), _peak_rss_mb() - before
    for metrics in ((), ("nsd",), ("hd95",), ("nsd", "hd95"), ("lesions",)):
        assert set(metrics) <= set(METRICS)
        _, seconds = timed(measure, pred, ref, labels, spacing, Measures(metrics), repeats=options.repeats)
        line[f"{'_'.join(metrics) or 'dice'}_s"] = round(seconds, 3)
    line["whole_case_s"] = round(whole_case(pred, ref, spacing), 3)
    if options.monai_labels:
        surface = {label: one.surface for label, one in found.items()}
        some = labels[: options.monai_labels]
        monai = beside_monai(pred, ref, some, spacing, 2.0, surface, line["nsd_hd95_s"])
        line |= {name: monai[name] for name in ("monai_labels", "monai_all_labels_s", "ratio", "largest_difference")}
    print(json.dumps(line))


def whole_case(pred: Any, ref: Any, spacing: tuple[float, ...]) -> float:
    """Seconds from two compressed files to the figures of a case."""
    import numpy as np

    from fran.evaluation.measures import Measures
    from fran.evaluation.scoring import CaseJob, score_case
    from fran.geometry import Grid
    from fran.io.volume import write_label_map

    grid = Grid(pred.shape, np.diag([*spacing, 1.0]))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.nii.gz" for name in ("pred", "ref")]
        for file, lm in zip(files, (pred, ref), strict=True):
            write_label_map(file, lm, grid)
        started = perf_counter()
        score_case(CaseJob("case", files[0], files[1], Measures(), None, None))
        return perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shape", type=int, nargs=3, default=(384, 384, 204))
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.9, 0.9, 1.5))
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--monai-labels", type=int, default=3, help="how many of them MONAI gets, scaled; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
