"""The Lightning logger of a training that must not end, or stand still, because its MLflow store does."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Metric
from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from fran.errors import StoreError
from fran.tracking.guard import trouble
from fran.tracking.mlflow_logger import reason, without_secret
from fran.tracking.unsent import Unsent

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

#: After an attempt that failed the store is left alone so long, and so many times as long as the attempt took: a
#: training waits for a store that is away for a tenth of its time at most.
PAUSE_S, PAUSE_SHARE = 60.0, 9.0


class RunLogger(MLFlowLogger):
    """MLflow's logger whose trouble is a warning: what the store did not take is kept, and sent when it answers again.

    Args:
        run_folder: of the run, where it is kept.
        **kwargs: of Lightning's logger.
    """

    def __init__(self, run_folder: Path | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.uri = str(kwargs["tracking_uri"])
        self.where = without_secret(self.uri)
        self.unsent = Unsent(run_folder)
        self._name = Path(run_folder).name
        self._again_at = 0.0
        self._away = False

    def create(self) -> str:
        """Id of the run, new or gone on with: the last moment at which trouble is an error.

        Raises:
            StoreError: the store did not make it.
        """
        from mlflow.exceptions import MlflowException

        try:
            self.unsent.go_on()
            return str(self.run_id)
        except (MlflowException, OSError) as error:
            said = reason(error, self.uri)
            raise StoreError(f"tracking.uri: {self.where} made no run for {self._name}: {said}") from error

    def attempt(self, what: str, work: Callable[[MlflowClient, str], object], *, at_once: bool = False) -> bool:
        """Do something in the store, unless it failed a moment ago; whether it was done.

        Args:
            what: is stored, for the warning.
            work: takes the client and the run's id.
            at_once: also if the store failed a moment ago.
        """
        if not at_once and time.monotonic() < self._again_at:
            self.unsent.keep()
            return False
        begun = time.monotonic()
        try:
            work(self.experiment, str(self.run_id))
        except trouble() as error:
            self.unsent.keep()
            now = time.monotonic()
            self._again_at = now + max(PAUSE_S, PAUSE_SHARE * (now - begun))
            if not self._away:
                log.warning(
                    "MLflow at %s did not take %s of %s: %s. That ends no training: what is missing is kept in the"
                    " run's folder and sent when MLflow takes it",
                    *(self.where, what, self._name, reason(error, self.uri)),
                )
            self._away = True
            return False
        self._again_at, self._away = 0.0, False
        return True

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values, and those kept from before; or keep them."""
        now = int(time.time() * 1000)
        points = [Metric(_clean(key), float(value), now, step or 0) for key, value in metrics.items()]

        def send(client: MlflowClient, run_id: str) -> None:
            if caught_up := self.unsent.send(client, run_id):
                log.info("MLflow at %s has been sent %d values from before", self.where, caught_up)
            client.log_batch(run_id, metrics=points)

        if not self.attempt("metrics", send):
            self.unsent.keep(points)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Say how the training ended, in Lightning's words."""
        if self._initialized:
            self.end("FAILED" if status == "failed" else "FINISHED")

    def end(self, status: str) -> None:
        """Say how the run ended, in MLflow's words."""
        if not self.attempt("the end", lambda client, run_id: client.set_terminated(run_id, status)):
            self.unsent.keep(status=status)


def _clean(key: str) -> str:
    """A metric's name in characters that MLflow takes."""
    return re.sub(r"[^a-zA-Z0-9_/. -]+", "", key)
