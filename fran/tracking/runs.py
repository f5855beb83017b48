"""What a run is and how it ended, as run.json in its folder; and the lock of the process that trains it.

Kept beside the checkpoints and not in MLflow alone: folds of one cross-validation find each other also without
tracking, with an offline store for each job, and on a machine that has only the folders.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fran.errors import StoreError
from fran.io.files import read_json, write_json

RECORD = "run.json"
LOCK = ".lock"
#: Ends after which nothing is left to train; a run that was stopped from outside goes on.
COMPLETE = ("max_epochs", "max_time", "early_stopping")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """Identity and end of one run.

    Attributes:
        folder: of the run; its name is the run's name.
        project, plan, model: names.
        fold: number, name of a datasource, or "all".
        settings_digest: of what decides the outcome besides the cases, see `fran.tracking.identity`.
        folds_digest: of the frozen folds.
        data_digest: of the manifest.
        started_at: ISO 8601, of the first start.
        result: how the training ended, empty until it has: best_dice, best_epoch, epochs, steps, elapsed_s, stopped_by.
        made_with: versions by package, git_commit, device and precision of the newest start; empty in records of an
            earlier fran.
    """

    folder: Path
    project: str
    plan: str
    model: str
    fold: int | str
    settings_digest: str
    folds_digest: str
    data_digest: str
    started_at: str
    result: Mapping[str, Any]
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether training reached its own end."""
        return self.result.get("stopped_by") in COMPLETE

    def same_settings(self, other: RunRecord) -> bool:
        """Whether both differ in their fold at most."""
        return (self.settings_digest, self.folds_digest) == (other.settings_digest, other.folds_digest)

    def ended(self, result: Mapping[str, Any]) -> RunRecord:
        """The same run with its end."""
        return replace(self, result=dict(result))


def write_record(record: RunRecord) -> None:
    """Write run.json; what is no number in the result becomes null."""
    content = {name: value for name, value in asdict(record).items() if name != "folder"}
    content["result"] = {k: None if v != v else v for k, v in record.result.items()}
    write_json(record.folder / RECORD, content)


def read_record(folder: Path | str) -> RunRecord:
    """The record of a run folder.

    Raises:
        StoreError: there is none, or it lacks something.
    """
    folder = Path(folder)
    content = read_json(folder / RECORD)
    names = [f.name for f in fields(RunRecord) if f.name not in ("folder", "made_with")]
    lacking = [name for name in names if not isinstance(content, dict) or name not in content]
    if lacking:
        raise StoreError(
            f"{folder / RECORD}: expected {', '.join(lacking)} in it; resume the run to have it made again"
        )
    return RunRecord(folder, **{name: content[name] for name in names}, made_with=content.get("made_with") or {})


def records(runs_folder: Path | str) -> list[RunRecord]:
    """Records of all runs in a folder, the oldest first; what cannot be read is said and left out."""
    found = []
    for path in sorted(Path(runs_folder).glob(f"*/{RECORD}")):
        try:
            found.append(read_record(path.parent))
        except StoreError as error:
            log.warning("%s", error)
    return sorted(found, key=lambda record: (record.started_at, record.name))


def training_lock(run_folder: Path | str) -> AbstractContextManager[None]:
    """Hold a run while it is trained; see `held`.

    Raises:
        StoreError: another process trains the run.
    """
    run_folder = Path(run_folder)
    reason = f"run: {run_folder.name} is being trained by another process; wait for it, or end it first"
    return held(run_folder / LOCK, reason)


def in_training(run_folder: Path | str) -> bool:
    """Whether a process holds the run now."""
    return is_held(Path(run_folder) / LOCK)


@contextmanager
def held(path: Path, reason: str, patience_s: float = 0.3) -> Iterator[None]:
    """Hold a lock file. The operating system lets go of it when the process ends, however it ends.

    Args:
        path: of the file, which stays.
        reason: message when another process holds it.
        patience_s: how long to try; whoever looks whether it is held holds it for an instant.

    Raises:
        StoreError: another process holds it.
    """
    with path.open("a+") as stream:
        end = time.monotonic() + patience_s
        while not _locked(stream.fileno()):
            if time.monotonic() > end:
                raise StoreError(reason)
            time.sleep(0.1)
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file now."""
    if not path.is_file():
        return False
    with path.open("a+") as stream:
        return not _locked(stream.fileno())


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for a lock file, hold it; the file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        _locked(stream.fileno(), wait=True)
        yield


def _locked(descriptor: int, wait: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        log.debug("the file system has no locks (%s): nothing keeps two processes off one run", error)
    return True
