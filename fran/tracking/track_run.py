"""The Lightning callback that tells MLflow what a run was: settings, code, data, pictures, model, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl

from fran import keys
from fran.tracking.guard import warn_only
from fran.tracking.mlflow_logger import log_datasets, remember_run
from fran.tracking.params import flatten, in_batches
from fran.tracking.run_logger import RunLogger
from fran.tracking.tags import fitted_tag
from fran.training.interrupt import TrainingInterrupted

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

ERROR = "fran.error"
PREDICTION = "prediction"
Draw = Callable[..., object]


@dataclass(frozen=True)
class RunFacts:
    """What is logged about a run besides its metrics.

    Attributes:
        config: the resolved configuration as plain data.
        config_yaml: the same as the YAML that is stored with the run.
        versions: package versions.
        git_commit: commit of the code, None outside a checkout.
        dataset: name of the data, such as the project's title.
        dataset_digest: digest of the manifest, at most 36 characters.
        dataset_source: folder or manifest the data come from.
        label_names: channel index to label name, for the pictures.
        spacing_mm: (x, y, z) of the validation cases, for the pictures; by default the configuration's ``spacing``.
        tags: further facts by name, each of which becomes the tag ``fran.<name>``; empty ones are left out.
    """

    config: Mapping[str, Any]
    config_yaml: str
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    dataset: str | None = None
    dataset_digest: str | None = None
    dataset_source: str = ""
    label_names: Mapping[int, str] = field(default_factory=dict)
    spacing_mm: Sequence[float] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class TrackRun(pl.Callback):
    """Log a training run to the trainer's RunLogger; without one, only pictures are written to the run folder.

    Where the module's ``validation_step`` returns a mapping with the keys case_id, image (1, 1, x, y, z), lm (the same
    shape, channel indices) and prediction (x, y, z), the first case of a validation is drawn and stored as an artefact.

    Trouble with pictures and with the store is a warning: hours of training must not fail for them.

    Args:
        facts: what to log at the start.
        run_folder: folder of the run; tracking.json and overlays/ are written there.
        draw: ``draw(image, pred, ref, names, spacing_mm, path, case_id=...)``, such as
            `fran.reporting.overlay.overlay_png`; None draws nothing.
        overlay_every: draw at every n-th validation, and at the end; 0 is the end alone.
        system_every_s: seconds between samples of the load of CPU, memory, disk and GPU; 0 takes none.
    """

    def __init__(
        self,
        facts: RunFacts,
        run_folder: Path | str,
        *,
        draw: Draw | None = None,
        overlay_every: int = 10,
        system_every_s: float = 0.0,
    ) -> None:
        super().__init__()
        self.facts = facts
        self.run_folder = Path(run_folder)
        self.draw = draw
        self.overlay_every = overlay_every
        self.system_every_s = system_every_s
        self._system: Any = None
        self._told = False
        self._validations = 0
        self._epoch = 0
        self._example: dict[str, Any] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log parameters, configuration, versions and data, and remember the run for a resume."""
        logger = _mlflow(trainer)
        if logger is None or not trainer.is_global_zero:
            return
        remember_run(self.run_folder, logger.uri, logger.create())
        self._told = logger.attempt("the settings", self._log_facts)
        if self._told:
            self._watch_system(logger)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first case, the same at each validation, so that pictures can be compared."""
        if batch_idx == 0 and dataloader_idx == 0 and self.draw is not None and trainer.is_global_zero:
            self._example = _example(outputs)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the example at every `overlay_every`-th validation."""
        if trainer.sanity_checking:
            return
        self._validations += 1
        self._epoch = trainer.current_epoch + 1  # the end of fit, where Lightning is one further, draws it too
        if self.overlay_every and self._validations % self.overlay_every == 0:
            self._overlay(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last example, and log what could not be logged at the beginning."""
        self._end_watch()
        self._overlay(trainer)
        logger = _mlflow(trainer)
        if logger is not None and trainer.is_global_zero and not self._told:
            logger.attempt("the settings", self._log_facts, at_once=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Tell why the run failed, as a tag and an artefact."""
        self._end_watch()
        logger = _mlflow(trainer)
        # a signal is no failure of the run, which goes on from its checkpoint
        interrupted = isinstance(exception, TrainingInterrupted | KeyboardInterrupt)
        if logger is None or interrupted or not trainer.is_global_zero:
            return
        text = f"{type(exception).__name__}: {exception}"

        def tell(client: MlflowClient, run_id: str) -> None:
            client.set_tag(run_id, ERROR, fitted_tag(text.splitlines(), "\n", " lines, see error.txt"))
            client.log_text(run_id, text, "error.txt")

        logger.attempt("the failure", tell)

    def state_dict(self) -> dict[str, Any]:
        """Number of validations, so that a resumed run draws in the same rhythm."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._validations = int(state_dict["validations"])

    def _log_facts(self, client: MlflowClient, run_id: str) -> None:
        """All of the facts; a run that goes on has not failed."""
        before = client.get_run(run_id).data
        if ERROR in before.tags:
            client.delete_tag(run_id, ERROR)
        self._log_config(client, run_id, before.params)
        self._log_tags(client, run_id)
        if self.facts.dataset is not None:
            _log_dataset(client, run_id, self.facts)

    def _log_config(self, client: MlflowClient, run_id: str, known: Mapping[str, str]) -> None:
        """Parameters, and the YAML. A parameter cannot change in MLflow: what a resume changed becomes a tag."""
        params, aside = flatten(self.facts.config)
        in_batches(client, run_id, {key: value for key, value in params.items() if key not in known})
        changed = [f"{key}: {known[key]} -> {value}" for key, value in params.items() if known.get(key, value) != value]
        if changed:
            client.set_tag(run_id, "fran.changed_on_resume", fitted_tag(changed, "\n", ", see the YAML"))
        if aside:
            client.set_tag(run_id, "fran.params_in_yaml_only", fitted_tag(aside, "\n", ", see the YAML"))
            log.info("too long for MLflow parameters, stored in config.yaml alone: %s", ", ".join(aside))
        name = f"config_resumed_{_n_resumed(client, run_id)}.yaml" if known else "config.yaml"
        client.log_text(run_id, self.facts.config_yaml, name)
        client.log_dict(run_id, dict(self.facts.versions), "versions.json")

    def _log_tags(self, client: MlflowClient, run_id: str) -> None:
        tags = {"fran.run_folder": str(self.run_folder), "fran.version": self.facts.versions.get("fran")}
        if self.facts.git_commit:
            tags["fran.git_commit"] = self.facts.git_commit
            tags["mlflow.source.git.commit"] = self.facts.git_commit.removesuffix("-dirty")
        tags["fran.manifest_digest"] = self.facts.dataset_digest
        tags |= {f"fran.{name}": value for name, value in self.facts.tags.items()}
        for key, value in tags.items():
            if value:
                client.set_tag(run_id, key, value)

    def _watch_system(self, logger: RunLogger) -> None:
        if not self.system_every_s:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._system = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            str(logger.run_id), self.system_every_s, resume_logging=True, tracking_uri=logger.uri
        )
        self._system.start()

    def _end_watch(self) -> None:
        if self._system is not None:
            self._system.finish()
            self._system = None

    def _overlay(self, trainer: pl.Trainer) -> None:
        example = self._example
        if self.draw is None or example is None or not trainer.is_global_zero:
            return
        path = self.run_folder / "overlays" / f"epoch_{self._epoch:04d}_{example[keys.CASE_ID]}.png"
        if path.exists():
            return
        spacing_mm = self.facts.spacing_mm or self.facts.config.get("spacing") or (1.0, 1.0, 1.0)
        with warn_only(f"the picture {path} was not made"):
            arrays = (example[keys.IMAGE], example[PREDICTION], example[keys.LM])
            self.draw(*arrays, self.facts.label_names, spacing_mm, path, case_id=example[keys.CASE_ID])
        logger = _mlflow(trainer)
        if logger is not None and path.is_file():
            what = f"the picture {path.name}"
            logger.attempt(what, lambda client, run_id: client.log_artifact(run_id, str(path), "overlays"))


def _example(outputs: Any) -> dict[str, Any] | None:
    """Case id and (x, y, z) arrays of a validation step's outputs, or None where they are of another kind."""
    if not isinstance(outputs, Mapping) or not {keys.CASE_ID, keys.IMAGE, keys.LM, PREDICTION} <= set(outputs):
        return None
    arrays = {
        name: outputs[name].detach().float().cpu().numpy().reshape(outputs[name].shape[-3:])
        for name in (keys.IMAGE, keys.LM, PREDICTION)
    }
    channels = {name: arrays[name].astype(np.uint16) for name in (keys.LM, PREDICTION)}
    return {keys.CASE_ID: outputs[keys.CASE_ID], keys.IMAGE: arrays[keys.IMAGE], **channels}


def _mlflow(trainer: pl.Trainer) -> RunLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, RunLogger)), None)


def _n_resumed(client: Any, run_id: str) -> int:
    return 1 + len([file for file in client.list_artifacts(run_id) if file.path.startswith("config_resumed_")])


def _log_dataset(client: MlflowClient, run_id: str, facts: RunFacts) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=str(facts.dataset),
        digest=(facts.dataset_digest or "unknown")[:36],
        source_type="local",
        source=facts.dataset_source,
    )
    tag = InputTag("mlflow.data.context", "training")
    log_datasets(client, run_id, [DatasetInput(dataset, [tag])])
