"""`fran export-nnunet`: a project as a data set of nnU-Net, with the same folds."""

from __future__ import annotations

import logging
import shlex
from dataclasses import asdict
from pathlib import Path

from fran.errors import ConfigError, choices
from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.schema import ExportNnunetConfig
from fran.workflows.terminal import say, say_json

log = logging.getLogger("fran.export")

_SHOWN = 10


def export_nnunet(job: Job[ExportNnunetConfig]) -> None:
    """Write the data set, say what became of labels and files, and how nnU-Net goes on."""
    from fran.projects.nnunet_export import RECORD, export_nnunet
    from fran.projects.splits_file import FILE

    config = job.config
    project = existing_project(config.paths, config.project)
    for name in config.datasources or []:
        if name not in project.datasources:
            raise ConfigError(f"datasources: unknown datasource '{name}'; {choices(name, project.datasources)}")
    done = export_nnunet(project, Path(config.output), config.datasources, config.num_processes, progress=True)
    for warning in done.warnings:
        log.warning("%s", warning)
    if config.json:
        say_json(asdict(done))
        return
    n_files = 2 * (done.n_training + done.n_test)
    say(
        f"{done.folder}: {done.n_training} training and {done.n_test} test cases, {n_files - len(done.converted)} of "
        f"{n_files} files linked"
    )
    say("labels: " + ", ".join(f"{value} {name}" for value, name in done.labels.items() if value))
    for line in done.converted[:_SHOWN]:
        say(f"  written anew: {line}")
    if len(done.converted) > _SHOWN:
        say(f"  … {len(done.converted) - _SHOWN} more, all in {RECORD}")
    splits = shlex.quote(str(done.folder / FILE))
    number = int(done.folder.name[7:10])
    say(f"next: export nnUNet_raw={shlex.quote(str(done.folder.parent))}  (and nnUNet_preprocessed, nnUNet_results)")
    say(f"      nnUNetv2_plan_and_preprocess -d {number} --verify_dataset_integrity")
    say(f"      cp {splits} $nnUNet_preprocessed/{done.folder.name}/  (before training: its folds are then fran's)")


def main() -> None:
    """Entry of `fran export-nnunet`."""
    run_verb("export_nnunet", ExportNnunetConfig, export_nnunet)
