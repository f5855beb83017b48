"""Time the start of commands: one JSON line a command on stdout, the median of several runs as new processes.

    python benchmarks/bench_startup.py --repeats 5

`user_s` is the processor time of the command, which other programs on the machine disturb less than `wall_s`.
`first_word_s` is how long `fran train` is silent, its standard error being a pipe.
`compose_s` is the processor time of composing a training's configuration in a running process, for the slowest plan.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "fran --help": ["-m", "fran.cli", "--help"],
    "fran train --help": ["-m", "fran.cli", "train", "--help"],
    "Tab: verbs": ["-m", "fran.cli", "completion", "--line", "bash", "fran tr", "tr"],
    "Tab: settings": ["-m", "fran.cli", "completion", "--line", "bash", "fran train trainer.opt", "trainer.opt"],
    "train.py --cfg job": [str(ROOT / "scripts" / "train.py"), "--cfg", "job"],
    "fran plan list": ["-m", "fran.cli", "plan", "list"],
    "import fran": ["-c", "import fran"],
}


def measure(arguments: list[str], home: str, repeats: int) -> dict[str, float]:
    walls, users = [], []
    environment = {**os.environ, "FRAN_HOME": home, "PYTHONPATH": str(ROOT)}
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - start)
        users.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall_s": round(statistics.median(walls), 3), "user_s": round(statistics.median(users), 3)}


def first_word_seconds(home: str, repeats: int) -> dict[str, object]:
    walls = []
    for _ in range(repeats):
        start = time.perf_counter()
        command = [sys.executable, "-m", "fran.cli", "train", "project=nobody"]
        environment = {**os.environ, "FRAN_HOME": home, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            word = process.stderr.readline()
            walls.append(time.perf_counter() - start)
            process.kill()
        assert word.startswith("fran train: project nobody")
    return {"what": "fran train, first word", "first_word_s": round(statistics.median(walls), 3)}


def compose_seconds(home: str, repeats: int) -> dict[str, object]:
    os.environ["FRAN_HOME"] = home
    sys.path.insert(0, str(ROOT))
    from fran.workflows.composition import search_folders
    from fran.workflows.entry import compose_job
    from fran.workflows.plan_files import plan_names
    from fran.workflows.schema import TrainConfig

    seconds: dict[str, float] = {}
    compose_job("train", TrainConfig)
    for name in plan_names(search_folders()):
        runs = []
        for _ in range(repeats):
            start = time.process_time()
            compose_job("train", TrainConfig, [f"plan={name}"])
            runs.append(time.process_time() - start)
        seconds[name] = round(statistics.median(runs), 3)
    slowest = max(seconds, key=lambda name: seconds[name])
    return {"what": "composition", "plan": slowest, "compose_s": seconds[slowest]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as home:
        for name, arguments in COMMANDS.items():
            print(json.dumps({"what": name, **measure(arguments, home, repeats)}))
        print(json.dumps(first_word_seconds(home, repeats)))
        print(json.dumps(compose_seconds(home, repeats)))


if __name__ == "__main__":
    main()
