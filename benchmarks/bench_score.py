"""Time and memory of scoring one case, metric by metric. One JSON line on standard output.

    python benchmarks/bench_score.py [--monai-labels 3] [--threads 1]

The case of organ_case.py (14 organ-like labels, 30 million voxels, islands far away), read from two .nii.gz files as
`fran score` reads them, then measured with everything, and with each metric alone. MONAI computes Dice, HD95 and NSD
from one-hot tensors that it gets for nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from organ_case import make_case, options, peak_rss_mb, timed


def main() -> None:
    asked = options(__doc__, monai_labels=3).parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    from bench_surface import beside_monai

    from fran.evaluation.measures import METRICS, Measures, measure

    pred, ref = make_case(tuple(asked.shape), asked.labels, asked.seed)
    labels, spacing = list(range(1, asked.labels + 1)), tuple(asked.spacing)
    measure(pred[:32], ref[:32], labels, spacing, Measures())  # imports
    line: dict[str, Any] = {
        "bench": "score", "shape": list(pred.shape), "labels": asked.labels, "threads": asked.threads,
    }  # fmt: skip
    before = peak_rss_mb()
    found, everything_s = timed(measure, pred, ref, labels, spacing, Measures(), repeats=asked.repeats)
    line["all_s"], line["extra_mb"] = round(everything_s, 3), peak_rss_mb() - before
    for metrics in ((), ("nsd",), ("hd95",), ("nsd", "hd95"), ("lesions",)):
        assert set(metrics) <= set(METRICS)
        _, seconds = timed(measure, pred, ref, labels, spacing, Measures(metrics), repeats=asked.repeats)
        line[f"{'_'.join(metrics) or 'dice'}_s"] = round(seconds, 3)
    line["whole_case_s"] = round(whole_case(pred, ref, spacing), 3)
    if asked.monai_labels:
        surface = {label: one.surface for label, one in found.items()}
        some = labels[: asked.monai_labels]
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


if __name__ == "__main__":
    main()
