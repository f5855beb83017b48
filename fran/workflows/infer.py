"""`fran infer`: label maps for new images, by one run or several."""

from __future__ import annotations

import logging
from pathlib import Path

from fran.errors import ConfigError, SettingProblem, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.model_sources import CHECKPOINTS, ModelSources, folder_name
from fran.workflows.predictors import segmenter
from fran.workflows.projects import folders_of
from fran.workflows.rules import check_postprocess, postprocessed
from fran.workflows.schema import InferConfig

log = logging.getLogger("fran.infer")

ENSEMBLES = ("mean", "vote")
PRECISIONS = ("auto", "32", "bf16", "16")
EMPTY = ("whole", "empty")


def infer(job: Job[InferConfig]) -> None:
    """Load the networks once, predict every image that is not finished, say what to run next."""
    from fran.inference.folder import predict_folder
    from fran.inference.memory import parse_bytes

    config = job.config
    folders = folders_of(config.paths, config.project)
    sources = ModelSources(folders, config.checkpoint, config.tracking_uri)
    runs = [sources.read(run) for run in config.runs]
    predictor = postprocessed(segmenter(config, runs, sources), config.postprocess, folders)
    output = Path(config.output) if config.output else folders.predictions / folder_name(runs)
    report = predict_folder(
        predictor,
        Path(config.input),
        output,
        overwrite=config.overwrite,
        output_format=config.format,
        ram=parse_bytes(config.ram),
        save_probabilities=config.save_probabilities,
        series=config.series,
        scratch=config.scratch,
    )
    log.info(
        "%d label maps predicted (%.1f s a case), %d finished before: %s",
        *(report.n_predicted, report.seconds_per_case, report.n_skipped, output),
    )
    log.info("next: fran score pred=%s gt=<folder of references>", output)


def check(config: InferConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found = []
    if not config.runs:
        found.append(SettingProblem("runs", config.runs, "the name of one run at least"))
    if config.ensemble == "vote" and len(config.runs) == 1:
        found.append(SettingProblem("runs", config.runs, "two runs or more, for ensemble=vote"))
    if config.ensemble == "vote" and config.save_probabilities:
        found.append(SettingProblem("save_probabilities", True, "false with ensemble=vote, which has no probabilities"))
    if not 0 <= config.overlap < 1:
        found.append(SettingProblem("overlap", config.overlap, "0 up to but not including 1"))
    if config.tile_batch < 1:
        found.append(SettingProblem("tile_batch", config.tile_batch, "1 or more"))
    for key, known in (
        ("checkpoint", CHECKPOINTS),
        ("ensemble", ENSEMBLES),
        ("precision", PRECISIONS),
        ("localiser_empty", EMPTY),
    ):
        value = getattr(config, key)
        if value not in known:
            found.append(SettingProblem(key, value, choices(value, known)))
    if config.margin_mm is not None and config.margin_mm < 0:
        found.append(SettingProblem("margin_mm", config.margin_mm, "0 or more"))
    return [
        *found,
        *_format(config),
        *_sizes(config),
        *_mirror(config),
        *check_postprocess(config.postprocess),
    ]


def _format(config: InferConfig) -> list[SettingProblem]:
    from fran.inference.outputs import FORMATS

    if config.format is None or config.format in FORMATS:
        return []
    return [SettingProblem("format", config.format, choices(config.format, list(FORMATS)))]


def _sizes(config: InferConfig) -> list[SettingProblem]:
    from fran.inference.memory import parse_bytes

    found = []
    for key in ("ram", "vram"):
        try:
            parse_bytes(getattr(config, key))
        except ConfigError:
            found.append(SettingProblem(key, getattr(config, key), "a size such as 8GB or 500MiB, or auto"))
    return found


def _mirror(config: InferConfig) -> list[SettingProblem]:
    axes = config.mirror
    if axes == "auto" or (not isinstance(axes, str) and all(axis in ("x", "y", "z") for axis in axes)):
        return []
    return [SettingProblem("mirror", axes, "a list of axes such as [x,y], or auto: those that training mirrored")]


def main() -> None:
    """Entry of `fran infer` and scripts/infer.py."""
    run_verb("infer", InferConfig, infer, check)
