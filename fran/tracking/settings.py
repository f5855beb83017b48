"""Settings of the tracking group."""

from __future__ import annotations

from dataclasses import dataclass, field

from fran.errors import SettingProblem, choices, raise_for_settings

BACKENDS = ("mlflow", "none")


@dataclass
class TrackingSettings:
    """Where runs are remembered, and how much of them.

    Attributes:
        backend: "mlflow", or "none": then mlflow is not even imported.
        uri: MLflow tracking URI; null is the project's own SQLite file ``<project folder>/mlflow.db``.
        artifacts: artefact root of a new experiment; null is ``<project folder>/mlartifacts``. Left to the server when
            `uri` is a server.
        experiment: name of the experiment; null is the project's title.
        log_checkpoint: store the best checkpoint with the run too (it stays in the run folder in any case).
        overlay_every: draw the validation example at every n-th validation, and always at the end; 0 is the end alone.
        parent_run_id: run under which this one is listed, for folds and sweeps.
        tags: further tags.
    """

    backend: str = "mlflow"
    uri: str | None = None
    artifacts: str | None = None
    experiment: str | None = None
    log_checkpoint: bool = True
    overlay_every: int = 10
    parent_run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def problems(self) -> list[SettingProblem]:
        """What the types cannot rule out."""
        found = []
        if self.backend not in BACKENDS:
            found.append(SettingProblem("tracking.backend", self.backend, choices(self.backend, BACKENDS)))
        if self.overlay_every < 0:
            found.append(SettingProblem("tracking.overlay_every", self.overlay_every, "0 or more"))
        if self.uri is not None and (self.uri.startswith("file:") or "://" not in self.uri):
            expected = (
                "sqlite:///<file>, http(s)://<server> or a database URI, for MLflow has given up its file store; "
                "null for the project's own SQLite file"
            )
            found.append(SettingProblem("tracking.uri", self.uri, expected))
        return found

    def check(self) -> None:
        """Raise `ConfigError` for what the types cannot rule out."""
        raise_for_settings(self.problems())
