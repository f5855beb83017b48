"""`fran infer`: label maps for new images, by one run or several."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fran.errors import ConfigError, SettingProblem, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.model_sources import CHECKPOINTS, ModelSources, folder_name
from fran.workflows.predictors import pool, segmenter
from fran.workflows.projects import folders_of
from fran.workflows.rules import check_postprocess, postprocessed
from fran.workflows.schema import InferConfig
from fran.workflows.terminal import say_json

if TYPE_CHECKING:
    from fran.inference.case import Segmenter
    from fran.inference.folder import FolderReport
    from fran.io.checkpoint import ModelFile
    from fran.projects.folders import ProjectFolders

log = logging.getLogger("fran.infer")

ENSEMBLES = ("mean", "vote")
PRECISIONS = ("auto", "32", "bf16", "16")
BACKENDS = ("local", "ray")
EMPTY = ("whole", "empty")


def infer(job: Job[InferConfig]) -> FolderReport:
    """Load the networks once, predict every image that is not finished, say what to run next."""
    from fran.inference.folder import predict_folder
    from fran.inference.memory import parse_bytes

    config = job.config
    folders = folders_of(config.paths, config.project)
    sources = ModelSources(folders, config.checkpoint, config.tracking_uri)
    runs = [sources.read(run) for run in config.runs]
    make = partial(_segmenter, runs, sources, folders)
    predictor = make(config) if config.backend == "local" else pool(config, make)
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
        strict=False,
    )
    if config.json:
        say_json(report.as_dict())
    report.raise_for_errors()
    log.info(
        "%d label maps predicted (%.1f s a case), %d finished before: %s",
        *(report.n_predicted, report.seconds_per_case, report.n_skipped, output),
    )
    log.info("next: fran score pred=%s gt=<folder of references>", output)
    return report


def _segmenter(
    runs: Sequence[Sequence[ModelFile]], sources: ModelSources, folders: ProjectFolders, config: InferConfig
) -> Segmenter:
    return postprocessed(segmenter(config, runs, sources), config.postprocess, folders)


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
    counts = {"actors": config.actors, "actor_cpus": config.actor_cpus}
    found += [SettingProblem(key, n, "1 or more") for key, n in counts.items() if n is not None and n < 1]
    if config.actor_gpus is not None and config.actor_gpus < 0:
        found.append(SettingProblem("actor_gpus", config.actor_gpus, "0 or more"))
    if config.tile_batch < 1:
        found.append(SettingProblem("tile_batch", config.tile_batch, "1 or more"))
    for key, known in (
        ("checkpoint", CHECKPOINTS),
        ("ensemble", ENSEMBLES),
        ("precision", PRECISIONS),
        ("backend", BACKENDS),
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
