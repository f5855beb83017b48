"""Train for some minutes and score the held-out cases on their own grids: one JSON line on stdout.

    python benchmarks/bench_training.py --work W --data kits --minutes 20 --seed 1 --splits splits_final.json plan=plan1

A project `bench` is made below `--work`, with the folds of `--splits` where they are given, and preprocessed; then
`fran train` runs for `--minutes` (`trainer.max_time`, validations inside it), `fran infer` predicts the images of the
fold that were held out, and `fran score` compares them with their label maps. What follows the options goes to
`fran preprocess` (keys of the plan) and `fran train`. A second call in the same folder trains another run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FRAN = [sys.executable, "-m", "fran.cli"]


def fran(*words: str) -> str:
    """What a verb prints; its messages go to stderr."""
    return subprocess.run([*FRAN, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def dice(pred: Path, gt: Path, out: Path) -> dict[str, float]:
    """Mean Dice of each label over the cases."""
    fran("score", f"pred={pred}", f"gt={gt}", f"output={out}", "metrics=[dice]")
    rows: dict[str, list[float]] = {}
    with (out / "scores.csv").open() as file:
        for row in csv.DictReader(file):
            if row["dice"]:
                rows.setdefault(row["label"], []).append(float(row["dice"]))
    return {label: round(sum(values) / len(values), 4) for label, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything fran writes")
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and lms/")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--splits", type=Path, help="nnU-Net's splits_final.json")
    parser.add_argument("--fold", type=int, default=0)
    args, overrides = parser.parse_known_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ.update(FRAN_HOME=str(args.work.resolve()), OMP_NUM_THREADS=str(args.threads))
    if not (args.work / "projects" / "bench").exists():
        fran("init", "-t", "bench", "-i", str(args.data.resolve()))
        if args.splits:
            fran("project", "folds", "project=bench", f"from={args.splits.resolve()}", "reassign=true")
    plan = [word for word in overrides if not word.startswith(("preset=", "model", "trainer", "augmentation"))]
    fran("preprocess", "project=bench", *plan)
    name = f"seed{args.seed}"
    settings = [f"run={name}", f"fold={args.fold}", f"trainer.seed={args.seed}", f"trainer.threads={args.threads}"]
    began, cpu = time.perf_counter(), children_cpu_s()
    fran("train", "project=bench", *overrides, *settings, f"trainer.max_time={round(args.minutes * 60)}")
    wall, cpu = time.perf_counter() - began, children_cpu_s() - cpu
    figures = scored(args, name)
    print(
        json.dumps(
            {
                "framework": "fran",
                "seed": args.seed,
                "minutes": args.minutes,
                "threads": args.threads,
                "train_wall_s": round(wall, 1),
                "train_cpu_s": round(cpu, 1),
                **figures,
                "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
            }
        )
    )


def scored(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Steps of the run, and the Dice of the cases that its fold held out."""
    home = args.work.resolve()
    folds = json.loads((home / "projects" / "bench" / "validation_folds.json").read_text())
    cases = sorted(folds[f"fold_{args.fold}"])
    numbers = {case.removeprefix(f"{args.data.name}_") for case in cases}
    images, lms, pred, out = (home / name / part for part in ("images", "lms", "predictions", "scores"))
    shutil.rmtree(home / name, ignore_errors=True)
    for folder in (images, lms):
        folder.mkdir(parents=True)
        for file in (args.data / folder.name).iterdir():
            if re.sub(r"\.nii(\.gz)?$|\.nrrd$", "", file.name).removeprefix(f"{args.data.name}_") in numbers:
                (folder / file.name).symlink_to(file.resolve())
    fran("infer", f"runs=[{name}]", "project=bench", f"input={images}", f"output={pred}")
    (log,) = home.glob(f"**/checkpoints/bench/{name}/metrics.csv")
    with log.open() as file:
        steps = max(int(row["step"]) for row in csv.DictReader(file))
    return {"iterations": steps + 1, "cases": cases, "dice": dice(pred, lms, out)}


if __name__ == "__main__":
    main()
