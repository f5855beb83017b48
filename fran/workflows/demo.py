"""`fran demo`: the whole way, by the commands that a user would type, on phantoms that fran makes itself."""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys

from fran.errors import FranError
from fran.io.checkpoint import LAST
from fran.projects.folders import ProjectFolders
from fran.tracking.runs import RECORD, read_record
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import folders_of
from fran.workflows.schema import DemoConfig
from fran.workflows.terminal import continued

log = logging.getLogger("fran.demo")

RUN = "demo"


def demo(job: Job[DemoConfig]) -> None:
    """Make phantoms, then init, preprocess, train, infer and score them, showing each command."""
    from fran.datasources.phantom import make_phantoms

    config = job.config
    folders = folders_of(config.paths, config.project)
    known, new = folders.cold / "phantoms" / "demo", folders.cold / "phantoms" / "demo_new"
    log.info("%d phantom CTs to learn from: %s", config.cases, known)
    make_phantoms(known, config.cases, config.seed, name="demo")
    log.info("%d to predict: %s", config.new_cases, new)
    make_phantoms(new, config.new_cases, config.seed + 1, name="demo")
    run = _run_name(folders)
    output = folders.predictions / run
    _fran("init", "-t", "demo", "-i", str(known))
    _fran("preprocess", "project=demo", "plan=plan1")
    small = ["patch_dim0=48", "patch_dim1=32", "trainer.steps_per_epoch=40"]  # what two CPU cores learn in minutes
    if not (folders.checkpoints / run).exists():
        _fran("train", "project=demo", "plan=plan1", *small, f"run={run}")
    elif not read_record(folders.checkpoints / run).finished:
        _fran("train", "project=demo", f"resume={run}")
    _fran("infer", "project=demo", f"runs=[{run}]", f"input={new}", f"output={output}")
    _fran("score", f"pred={output}", f"gt={new}")
    log.info("\nThat was the whole way. Look at the run:      fran ui project=demo")
    log.info("The same with another spacing and network:    fran train 'spacing=[0.8,0.8,1.5]' model=segresnet")
    log.info("What the words mean (fold, epoch, Dice, …):   docs/glossary.md")
    log.info("On your own data:                             fran init -t <title> -i <folder of images/ and lms/>")


def _run_name(folders: ProjectFolders) -> str:
    """`demo`, or `demo2`, … when it was run before to the end, or was killed before anything was kept."""
    names = [RUN, *(f"{RUN}{n}" for n in range(2, 1000))]
    return next(name for name in names if not (folders.checkpoints / name).exists() or _goes_on(folders, name))


def _goes_on(folders: ProjectFolders, name: str) -> bool:
    """Whether an interrupted demo left a run that can be gone on with."""
    run = folders.checkpoints / name
    scored = folders.predictions / name / "scores.csv"
    return (run / LAST).is_file() and (run / RECORD).is_file() and not scored.is_file()


def _fran(verb: str, *arguments: str) -> None:
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 10_000
    log.info("\n%s", continued(f"$ {shlex.join(['fran', verb, *arguments])}", width))
    with subprocess.Popen([sys.executable, "-m", "fran.cli", verb, *arguments]) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal too, and has a checkpoint to write
            raise
    if status != 0:
        raise FranError(f"fran {verb} ended with status {status}; its own message stands above")


def main() -> None:
    """Entry of `fran demo`."""
    run_verb("demo", DemoConfig, demo)
