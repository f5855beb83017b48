"""`fran export`: a run, or an ensemble of runs, as a bundle that predicts without the project."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fran.errors import SettingProblem, choices
from fran.labels import LabelScheme
from fran.workflows.entry import Job, run_verb
from fran.workflows.model_sources import CHECKPOINTS, ModelSources
from fran.workflows.projects import folders_of
from fran.workflows.rules import CARRIED, check_postprocess, chosen_rules
from fran.workflows.schema import ExportConfig
from fran.workflows.terminal import counting, say_json

log = logging.getLogger("fran.export")

FORMATS = ("torchscript", "onnx")


def export(job: Job[ExportConfig]) -> None:
    """Write the bundle, and say how to use it."""
    from fran.bundle.write import write_bundle
    from fran.inference.ensemble import check_ensemble
    from fran.inference.postprocess import describe_rules

    config = job.config
    folders = folders_of(config.paths, config.project)
    sources = ModelSources(folders, config.checkpoint, config.tracking_uri)
    models = [model for run in names(config) for model in sources.read(run, "run")]
    check_ensemble(models)
    labels = LabelScheme.from_dict(models[0].meta["labels"])
    rules = describe_rules(chosen_rules(config.postprocess, folders, [model.meta for model in models], labels))
    models = [replace(model, meta={**model.meta, CARRIED: rules}) for model in models]
    with counting("export", "part") as on_part:
        bundle = write_bundle(models, Path(config.output).expanduser(), config.formats, on_part=on_part)
    if config.json:
        checks = [check.to_dict() for check in bundle.checks]
        answer = {"bundle": bundle.path, "runs": names(config), "networks": len(models), "labels": labels.names}
        say_json({**answer, "postprocess": rules, "checks": checks})
    log.info("%d networks exported to %s", len(models), bundle.path)
    log.info("next: fran infer runs=[%s] input=<images> output=<label maps>", bundle.path)


def names(config: ExportConfig) -> list[str]:
    """Names of the runs, given as one name or as a list."""
    return [config.run] if isinstance(config.run, str) else [str(name) for name in config.run or ()]


def check(config: ExportConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    found = [] if names(config) else [SettingProblem("run", config.run, "the name of a run, or a list of names")]
    found += [SettingProblem("formats", f, choices(f, FORMATS)) for f in config.formats if f not in FORMATS]
    if config.checkpoint not in CHECKPOINTS:
        found.append(SettingProblem("checkpoint", config.checkpoint, choices(config.checkpoint, CHECKPOINTS)))
    return [*found, *check_postprocess(config.postprocess)]


def main() -> None:
    """Entry of `fran export`."""
    run_verb("export", ExportConfig, export, check)
