"""Take folders of datasources through all verbs: one JSON line a folder, with seconds, exit status and memory of each.

    python benchmarks/bench_verbs.py --data DATA [--work WORK] [--only kits hippo] [--mr hippo]

DATA holds folders with `images/` and `lms/`. Each is initialised, preprocessed, trained for `--train-s` seconds with
`preset=cpu` on one thread, applied to its first `--infer` images, and scored: MR, of which the folders are named behind
`--mr`, with plan3, everything else with plan1. `val_dice` is the best of a training this short: it shows that the way
is whole, not that a network learns. `peak_mb` is the largest process of a verb. What a verb says goes to
WORK/<folder>/log.txt.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def verb(home: Path, *arguments: str) -> dict[str, float]:
    """One verb as a process: its wall seconds, exit status and peak memory."""
    environment = {**os.environ, "FRAN_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (home / "log.txt").open("a", encoding="utf-8") as log:
        start = time.perf_counter()
        command = [sys.executable, "-m", "fran.cli", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = round(time.perf_counter() - start, 1)
    return {"s": seconds, "status": process.returncode, "peak_mb": round(used.ru_maxrss / 1024)}


def links(folder: Path, files: list[Path]) -> Path:
    """A folder of links to those files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).symlink_to(file)
    return folder


def best_dice(home: Path) -> float | None:
    """Highest val/dice of the run's metrics."""
    for path in home.glob("**/checkpoints/*/run/metrics.csv"):
        with path.open(encoding="utf-8", newline="") as rows:
            values = [float(row["val/dice"]) for row in csv.DictReader(rows) if row.get("val/dice")]
        return round(max(values), 3) if values else None
    return None


def whole_way(source: Path, home: Path, plan: str, train_s: float, images: int) -> dict[str, object]:
    """All verbs over one folder."""
    home.mkdir(parents=True)
    files = sorted((source / "images").iterdir())
    some = links(home / "some", files[:images])
    references = links(home / "references", [source / "lms" / file.name for file in files[:images]])
    composed = (f"project={source.name}", f"plan={plan}")
    short = ("preset=cpu", f"trainer.max_time={train_s:g}", "trainer.threads=1", "trainer.progress=false", "run=run")
    predicted = home / "predicted"
    line: dict[str, object] = {"folder": source.name, "cases": len(files), "plan": plan}
    line["init"] = verb(home, "init", "-t", source.name, "-i", str(source))
    line["preprocess"] = verb(home, "preprocess", *composed)
    line["train"] = verb(home, "train", *composed, *short)
    line["infer"] = verb(home, "infer", composed[0], "runs=[run]", f"input={some}", f"output={predicted}")
    line["score"] = verb(home, "score", f"pred={predicted}", f"gt={references}", "metrics=[dice]")
    return {**line, "val_dice": best_dice(home)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="an empty or new folder (default: a temporary one)")
    parser.add_argument("--train-s", type=float, default=12.0)
    parser.add_argument("--infer", type=int, default=3, help="images to predict")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--mr", nargs="*", default=[])
    asked = parser.parse_args()
    found = sorted(folder.parent for folder in asked.data.resolve().glob("*/images"))
    with tempfile.TemporaryDirectory() as temporary:
        work = (asked.work or Path(temporary)).resolve()
        for source in found:
            if not asked.only or source.name in asked.only:
                plan = "plan3" if source.name in asked.mr else "plan1"
                line = whole_way(source, work / source.name, plan, asked.train_s, asked.infer)
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
