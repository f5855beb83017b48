"""`fran infer`: label maps for new images, by one run or the mean of several."""

from __future__ import annotations

import logging
from pathlib import Path

from fran.errors import SettingProblem, StoreError, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import folders_of
from fran.workflows.schema import InferConfig

log = logging.getLogger("fran.infer")

CHECKPOINTS = ("best", "last")


def infer(job: Job[InferConfig]) -> None:
    """Load the networks once, predict every image that is not finished, say what to run next."""
    from fran.inference.folder import predict_folder
    from fran.inference.predictor import Predictor
    from fran.io.checkpoint import read_model

    config = job.config
    folders = folders_of(config.paths, config.project)
    files = [find_checkpoint(run, folders.checkpoints, config.checkpoint) for run in config.runs]
    predictor = Predictor(
        [read_model(file) for file in files],
        config.device,
        overlap=config.overlap,
        tile_batch=config.tile_batch,
    )
    output = Path(config.output) if config.output else folders.predictions / "+".join(f.parent.name for f in files)
    report = predict_folder(predictor, Path(config.input), output, overwrite=config.overwrite)
    log.info(
        "%d label maps predicted (%.1f s a case), %d finished before: %s",
        *(report.n_predicted, report.seconds_per_case, report.n_skipped, output),
    )
    log.info("next: fran score pred=%s gt=<folder of references>", output)


def find_checkpoint(run: str, checkpoints: Path, which: str) -> Path:
    """Checkpoint file of a run's name, of a run folder, or of a file.

    Raises:
        StoreError: there is none; the message lists the project's runs.
    """
    named = Path(run).expanduser()
    if named.is_file():
        return named
    folder = named if named.is_dir() else checkpoints / run
    # a run that was never validated has no best checkpoint
    found = next((file for file in (folder / f"{which}.ckpt", folder / "last.ckpt") if file.is_file()), None)
    if found is None:
        known = sorted(p.parent.name for p in checkpoints.glob("*/last.ckpt"))
        raise StoreError(f"runs: no checkpoint of '{run}' in {checkpoints}; {choices(run, known)}")
    return found


def check(config: InferConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found = []
    if not config.runs:
        found.append(SettingProblem("runs", config.runs, "the name of one run at least"))
    if not 0 <= config.overlap < 1:
        found.append(SettingProblem("overlap", config.overlap, "0 up to but not including 1"))
    if config.tile_batch < 1:
        found.append(SettingProblem("tile_batch", config.tile_batch, "1 or more"))
    if config.checkpoint not in CHECKPOINTS:
        found.append(SettingProblem("checkpoint", config.checkpoint, choices(config.checkpoint, CHECKPOINTS)))
    return found


def main() -> None:
    """Entry of `fran infer` and scripts/infer.py."""
    run_verb("infer", InferConfig, infer, check)
