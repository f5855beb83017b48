"""Whether a training grows with its epochs: memory of the whole process tree, one JSON line on stdout.

    python benchmarks/bench_memory.py --epochs 50

A project of a few phantoms is made, and `fran train` with MLflow and a validation after each of its short epochs runs
once for each number of loader processes and each cache. At the end of every epoch the resident memory of the process
and its children is read, pages that several of them share counted once (PSS): `mb` is all, `of_it_loaders_mb` the
children's part. `slope_mb_per_epoch` is the median of the slopes between all pairs of epochs after `--warmup`, which
single jumps of an allocator do not move. `--leak-mb` keeps so much more at each epoch's end, to see that it is seen.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

SMALL = (
    "project=demo",
    "patch_dim0=32",
    "patch_dim1=16",
    "spacing=[4,4,6]",
    "model.filters=8",
    "trainer.accelerator=cpu",
    "trainer.steps_per_epoch=5",
    "trainer.val_every_n_epochs=1",
    "trainer.max_val_cases=1",
    "trainer.progress=false",
)


def process_tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(children).split():
            yield from process_tree(int(child))


def tree_mb() -> tuple[float, float]:
    """Memory of this process and of its descendants, shared pages counted once, files mapped into it left out."""
    kb = [0, 0]
    for pid in process_tree(os.getpid()):
        rows = (line.split() for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines())
        kb[pid != os.getpid()] += sum(int(row[1]) for row in rows if row[0] in ("Pss_Anon:", "Pss_Shmem:"))
    return kb[0] / 1024, kb[1] / 1024


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return ""


def train(overrides: list[str], leak_mb: float) -> list[tuple[float, float]]:
    """MB of the process and of its loaders at the end of each epoch."""
    import torch
    from pytorch_lightning.callbacks import Callback

    from fran.io.checkpoint import new_run_folder
    from fran.training.fit import fit
    from fran.workflows.entry import compose_job
    from fran.workflows.plan_data import data_of
    from fran.workflows.preprocess import bring_up_to_date
    from fran.workflows.projects import existing_project
    from fran.workflows.run_tracking import track
    from fran.workflows.schema import TrainConfig
    from fran.workflows.train import spec_of, split_of

    class Probe(Callback):
        def __init__(self) -> None:
            self.measured: list[tuple[float, float]] = []
            self.kept: list[torch.Tensor] = []

        def on_train_epoch_end(self, *_: object) -> None:
            gc.collect()
            self.measured.append(tree_mb())
            self.kept.append(torch.ones(int(leak_mb * 2**20 / 4)))

    job = compose_job("train", TrainConfig, overrides)
    project = existing_project(job.config.paths, job.config.project)
    data = data_of(project, job)
    bring_up_to_date(project, data, job.config.preprocess)
    run = new_run_folder(project.folders.checkpoints, job.config.plan_name, "memory", job.config.fold)
    spec = spec_of(job, project, data, split_of(project, job.config), run)
    tracking, probe = track(job, project.folders, spec), Probe()
    tracking.begin()
    watched = {"loggers": tracking.loggers, "callbacks": [*tracking.callbacks, probe]}
    tracking.end(fit(spec, everywhere=tracking.everywhere, **watched))
    return probe.measured


def slope(values: list[float], warmup: int) -> float:
    """Median of the slopes between all pairs (Theil and Sen)."""
    points = list(enumerate(values))[warmup:]
    return median((b - a) / (j - i) for (i, a), (j, b) in combinations(points, 2))


def one(args: argparse.Namespace, workers: int, cache: str) -> dict[str, Any]:
    """A training in a process of its own."""
    settings = [f"trainer.max_epochs={args.epochs}", f"trainer.num_workers={workers}", f"trainer.cache={cache}"]
    command = [sys.executable, __file__, "--train", *SMALL, *settings, "--leak-mb", str(args.leak_mb)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    both: list[tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    values = [sum(pair) for pair in both]
    return {
        "workers": workers,
        "cache": cache,
        "slope_mb_per_epoch": round(slope(values, args.warmup), 4),
        "mb": [round(value, 1) for value in values],
        "of_it_loaders_mb": [round(loaders, 1) for _, loaders in both],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=10, help="epochs that do not count")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--cache", nargs="+", default=["none", "ram"])
    parser.add_argument("--leak-mb", type=float, default=0.0)
    parser.add_argument("--train", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        print(json.dumps(train(args.train, args.leak_mb)))
        return
    with tempfile.TemporaryDirectory(prefix="fran-memory-") as folder:
        os.environ["FRAN_HOME"] = folder
        from fran.datasources.phantom import make_phantoms

        raw = make_phantoms(Path(folder) / "raw" / "demo", 4, 0, name="demo")
        init = [sys.executable, "-m", "fran.cli", "init", "-t", "demo", "-i", str(raw)]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        runs = [one(args, workers, cache) for workers in args.workers for cache in args.cache]
    kept = {name: getattr(args, name) for name in ("epochs", "warmup", "leak_mb")}
    print(json.dumps({"framework": "fran", **kept, "runs": runs}))


if __name__ == "__main__":
    main()
