"""What an MLflow store did not take of a run: kept in the run's folder until it does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

UNSENT = "mlflow_unsent.jsonl"
METRICS_BATCH = 1000  # MLflow takes so many at a time


class Unsent:
    """Values of metrics and the end of a run that are still to be sent, one a line.

    The file is there as long as the store may lack anything of the run. Artefacts need no line: the folder has them.

    Args:
        run_folder: of the run.
    """

    def __init__(self, run_folder: Path | str) -> None:
        self.path = Path(run_folder) / UNSENT

    def __bool__(self) -> bool:
        return self.path.is_file()

    def keep(self, points: Sequence[Metric] = (), status: str | None = None) -> None:
        """Keep values, or how and when the run ended; with neither, that something is missing."""
        lines: list[dict[str, Any]] = [
            {"key": p.key, "value": p.value, "timestamp": p.timestamp, "step": p.step} for p in points
        ]
        if status is not None:
            lines.append({"status": status, "timestamp": int(time.time() * 1000)})
        with self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{json.dumps(line)}\n" for line in lines)

    def send(self, client: MlflowClient, run_id: str) -> int:
        """Send all of it; number of values that were sent. The file stays, empty, until `clear`."""
        from mlflow.entities import Metric

        if not self:
            return 0
        lines = self._lines()
        points = [Metric(k["key"], k["value"], k["timestamp"], k["step"]) for k in lines if "key" in k]
        send_points(client, run_id, points)
        for ended in [line for line in lines if "status" in line][-1:]:
            client.set_terminated(run_id, ended["status"], ended["timestamp"])
        self.path.write_text("", encoding="utf-8")
        return len(points)

    def go_on(self) -> None:
        """Forget how the run ended: it is resumed."""
        if self:
            lines = [line for line in self._lines() if "status" not in line]
            self.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    def clear(self) -> None:
        """The store has everything."""
        self.path.unlink(missing_ok=True)

    def _lines(self) -> list[dict[str, Any]]:
        return [found for line in self.path.read_text(encoding="utf-8").splitlines() if (found := _read(line))]


def send_points(client: MlflowClient, run_id: str, points: Sequence[Metric]) -> None:
    """Log values of metrics, as many at a time as MLflow takes; those it has already it leaves as they are."""
    for start in range(0, len(points), METRICS_BATCH):
        client.log_batch(run_id, metrics=points[start : start + METRICS_BATCH])


def _read(line: str) -> dict[str, Any]:
    """A line as it was kept; nothing where a kill has cut it short."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return found
