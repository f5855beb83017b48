"""Settings of the tracking group."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

from fran.errors import SettingProblem, choices, raise_for_settings

BACKENDS = ("mlflow", "none")
OFFLINE = "offline"


@dataclass
class TrackingSettings:
    """Where runs are remembered, and how much of them.

    Attributes:
        backend: "mlflow", or "none": then mlflow is not even imported.
        uri: MLflow tracking URI; null is the project's own SQLite file ``<project folder>/mlflow.db``, "offline" one in
            the run's own folder, which `fran mlflow merge` brings to the project's.
        artifacts: artefact root of a new experiment; null is ``<project folder>/mlartifacts``. Left to the server when
            `uri` is a server.
        experiment: name of the experiment; null is the project's title.
        log_checkpoint: store the best checkpoint with the run too (it stays in the run folder in any case).
        overlay_every: draw the validation example at every n-th validation, and always at the end; 0 is the end alone.
        worst_cases: draw so many of the cases with the lowest Dice at each validation that is the best so far.
        register: make the best checkpoint a version of the registered model ``<project>-<plan>-<model>``, whose alias
            "best" points at the version of the highest validation Dice.
        system_every_s: seconds between samples of the load of CPU, memory, disk and GPU; 0 takes none.
        parent_run_id: run under which this one is listed, for sweeps; folds find theirs by themselves.
        tags: further tags.
    """

    backend: str = "mlflow"
    uri: str | None = None
    artifacts: str | None = None
    experiment: str | None = None
    log_checkpoint: bool = True
    overlay_every: int = 10
    worst_cases: int = 3
    register: bool = False
    system_every_s: float = 0.0
    parent_run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def problems(self) -> list[SettingProblem]:
        """What the types cannot rule out."""
        found = []
        if self.backend not in BACKENDS:
            found.append(SettingProblem("tracking.backend", self.backend, choices(self.backend, BACKENDS)))
        numbers = {name: getattr(self, name) for name in ("overlay_every", "worst_cases")}
        found += [SettingProblem(f"tracking.{name}", n, "0 or more") for name, n in numbers.items() if n < 0]
        if self.register and self.uri == OFFLINE:
            expected = "false offline: merged runs are not registered"
            found.append(SettingProblem("tracking.register", self.register, expected))
        if self.register and not self.log_checkpoint:
            expected = "true with tracking.register=true: a registered model is the stored checkpoint"
            found.append(SettingProblem("tracking.log_checkpoint", self.log_checkpoint, expected))
        if self.system_every_s < 0:
            found.append(SettingProblem("tracking.system_every_s", self.system_every_s, "0 or more"))
        elif self.system_every_s and find_spec("psutil") is None:
            expected = "0, for the package psutil is not installed: pip install psutil"
            found.append(SettingProblem("tracking.system_every_s", self.system_every_s, expected))
        if self.uri not in (None, OFFLINE) and (self.uri.startswith("file:") or "://" not in self.uri):
            expected = (
                "sqlite:///<file>, http(s)://<server> or a database URI, for MLflow has given up its file store; "
                "offline for one in the run's folder; null for the project's own SQLite file"
            )
            found.append(SettingProblem("tracking.uri", self.uri, expected))
        return found

    def check(self) -> None:
        """Raise `ConfigError` for what the types cannot rule out."""
        raise_for_settings(self.problems())
