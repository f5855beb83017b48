"""What a sweep costs beside the trainings in it: one JSON line on stdout.

    python benchmarks/bench_sweep.py --trials 3

A project of phantoms is made and preprocessed in a folder of its own. Then the same tiny training is run `--trials`
times by `train.py`, a command each, and as many times by a sweep: `in_process` (Hydra's basic launcher), `grid`
(hydra/launcher=ray) and `search` (hydra/sweeper=ray_tune), one trial at a time, on a cluster that the sweep starts
and ends.

`wall_s` and `cpu_s` are of whole commands; `cpu_of` splits the processor time into the command itself, the processes
of trials, and those of Ray. `overhead_*` are what a trial costs more than by `train.py`, in seconds and as a share.
`before_s`, `between_s` and `after_s` are the parts of `wall_s` in which no trial is being trained: until the first
begins, from one to the next (mean), after the last. Processor time, unlike seconds of the clock, hardly depends on
what else the machine does.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRAIN = str(ROOT / "scripts" / "train.py")
FRAN = ["-m", "fran.cli"]
TINY = (
    "project=bench", "patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]", "model.filters=4", "trainer.num_workers=0",
    "trainer.val_every_n_epochs=1", "tracking=none",
)  # fmt: skip
ON_ONE_CPU = ("hydra.launcher.ray.init.num_cpus=1", "hydra.launcher.ray.init.num_gpus=0")
WAYS = ("in_process", "grid", "search")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.5


class Usage:
    """Processor seconds of a process and of all that it starts, as far as they can be seen every `SAMPLE_S`."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.seconds: dict[int, float] = {}
        self.parts: dict[int, str] = {}

    def sample(self) -> None:
        """Look at the processes that there are."""
        parents, used = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:  # it has just ended
                    continue
                pid = int(entry.name)
                parents[pid] = int(stat[1])
                used[pid] = (int(stat[11]) + int(stat[12])) * TICK_S
        family = {self.root}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        for pid in family & used.keys():
            self.seconds[pid] = max(used[pid], self.seconds.get(pid, 0.0))
            if self.parts.get(pid) not in ("command", "trials"):
                self.parts[pid] = "command" if pid == self.root else _part(pid)

    def by_part(self) -> dict[str, float]:
        """Seconds by part."""
        return {
            part: round(sum(s for pid, s in self.seconds.items() if self.parts[pid] == part), 2)
            for part in sorted(set(self.parts.values()))
        }


def _part(pid: int) -> str:
    """Of a process that a command has started; Ray gives its workers the names of what they run."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return "ray"
    return "trials" if any(name in title for name in (b"run_hydra_job", b"_train", b"ImplicitFunc")) else "ray"


def measured(arguments: list[str], log: Path) -> dict[str, Any]:
    """Wall and processor seconds of a command, and when it began and ended."""
    with log.open("ab") as stream:
        began, clock = time.time(), time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=stream, stderr=stream)
        usage = Usage(process.pid)
        while process.poll() is None:
            usage.sample()
            time.sleep(SAMPLE_S)
        wall = time.perf_counter() - clock
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}:\n{log.read_text()}")
    return {"wall_s": wall, "cpu_s": sum(usage.seconds.values()), "cpu_of": usage.by_part(), "began": began}


def pauses(folder: Path, began: float, wall_s: float) -> dict[str, float]:
    """Seconds in which no trial of a sweep was being trained."""
    trials = [json.loads(path.read_text()) for path in folder.glob("*/trial.json")]
    spans = sorted(
        tuple(datetime.fromisoformat(trial[key]).timestamp() for key in ("started_at", "ended_at")) for trial in trials
    )
    between = [later[0] - sooner[1] for sooner, later in pairwise(spans)]
    return {
        "before_s": spans[0][0] - began,
        "between_s": sum(between) / len(between) if between else 0.0,
        "after_s": began + wall_s - spans[-1][1],
        "trial_s": sum(end - start for start, end in spans) / len(spans),
    }


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """For people."""
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="of a training")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    work = Path(tempfile.mkdtemp(prefix="fsweep"))
    try:
        print(json.dumps(compare(args, work)))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def compare(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Figures of all ways."""
    from fran.datasources.phantom import make_phantoms

    os.environ.update(FRAN_HOME=str(work), PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0")
    log = work / "log"
    raw = make_phantoms(work / "raw" / "bench", 5, 0, name="bench")
    tiny = [*TINY, f"trainer.steps_per_epoch={args.steps}", "trainer.max_epochs=1"]
    rates = [f"{0.01 * (n + 1):.2g}" for n in range(args.trials)]
    measured([*FRAN, "init", "-t", "bench", "-i", str(raw)], log)
    measured([*FRAN, "preprocess", *TINY[:4]], log)
    plain = [measured([TRAIN, *tiny, f"trainer.optimiser.lr={rate}"], log) for rate in rates]
    per_trial = {key: sum(one[key] for one in plain) / len(plain) for key in ("wall_s", "cpu_s")}
    found: dict[str, Any] = {
        "trials": args.trials,
        "steps": args.steps,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "pytorch-lightning", "monai", "ray")},
        "plain": rounded(per_trial),
    }
    swept = {
        "in_process": [f"trainer.optimiser.lr={','.join(rates)}"],
        "grid": [f"trainer.optimiser.lr={','.join(rates)}", "hydra/launcher=ray", *ON_ONE_CPU],
        "search": [
            *("trainer.optimiser.lr=interval(0.01,0.1)", "hydra/sweeper=ray_tune", *ON_ONE_CPU),
            f"hydra.sweeper.trials={args.trials}",
        ],
    }
    for way in args.ways:
        figures = measured([TRAIN, "-m", *tiny, *swept[way], f"sweep={way}"], log)
        figures |= pauses(work / "projects" / "bench" / "sweeps" / way, figures.pop("began"), figures["wall_s"])
        for kind in ("wall", "cpu"):
            more = figures[f"{kind}_s"] / args.trials - per_trial[f"{kind}_s"]
            figures |= {f"overhead_{kind}_s": more, f"overhead_{kind}": more / per_trial[f"{kind}_s"]}
        found[way] = rounded(figures)
    return found


if __name__ == "__main__":
    main()
