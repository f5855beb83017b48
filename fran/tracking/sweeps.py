"""Sweeps: several trainings of one command, what they were asked for and what became of each, in files.

A sweep is a folder ``<project>/sweeps/<name>``::

    sweep.json    what is swept; never written again
    multirun.yaml the command's composed configuration (Hydra's)
    stop          exists while the sweep is asked to stop
    .lock         held by the process that runs the sweep
    <n>/          Hydra's folder of trial n: train.log and .hydra/ with the configuration and what was overridden
    <n>/trial.json  what the trial is, and how it stands
    <n>/error.txt   traceback of a trial that failed
    <n>/stop        why the trial is asked to stop early, where it is
    <n>/.lock       held by the process that trains the trial

Each file is written whole, and by one process at a time: trial.json by the sweep before the trial begins and by the
trial from then on. So any process may be killed at any moment: a trial that says it is running while nobody holds its
lock was killed, and goes on from the checkpoint in its run's folder when the command is typed again. Trials are known
by `Trial.key`, a digest of their configuration, and not by their number or by the text of the command.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fran.errors import ConfigError, NothingNamedSo, StoreError, choices
from fran.io.files import atomic_path, read_json, write_json
from fran.tracking.identity import differences, identity, settings_digest
from fran.tracking.runs import exclusive, held, is_held

SWEEP_FILE, TRIAL_FILE, STOP_FILE, ERROR_FILE = "sweep.json", "trial.json", "stop", "error.txt"
LOCK = ".lock"

#: Left out of what a trial is known by: places and names. Unlike runs of one cross-validation, trials may differ in
#: their fold, or in what changes the speed alone.
APART = ("run", "resume", "dry_run", "json", "paths", "preprocess", "tracking", "notes", "sweep", "search")

WAITING, RUNNING, FINISHED, STOPPED = "waiting", "running", "finished", "stopped"
DIVERGED, FAILED, INTERRUPTED, KILLED = "diverged", "failed", "interrupted", "killed"
REFUSED = "refused"
#: States after which nothing is left to do; the others are taken up when the command is typed again.
DONE = (FINISHED, STOPPED, DIVERGED, REFUSED)
UNSUCCESSFUL = (FAILED, KILLED)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        folder: of the trial; its name is the trial's number.
        key: digest of its configuration, see `trial_key`.
        overrides: what sets it apart from the sweep's other trials, as a command line would say it.
        state: waiting, running, finished, stopped (early, as not good enough), diverged (the loss became NaN), failed,
            interrupted, killed, or refused (a draw of settings that cannot work).
        run: name of its run, None before it has one.
        reason: of the state, in words.
        value: best value of the sweep's metric so far, None without any.
        epoch: from 1, of that value.
        epochs: trained so far.
        elapsed_s: seconds of training.
        attempts: how often it was begun.
        process: ``host:pid`` of the last one that trained it.
        draw: what a sampler needs to remember about it.
        started_at, ended_at: ISO 8601; empty before.
    """

    folder: Path
    key: str
    overrides: tuple[str, ...] = ()
    state: str = WAITING
    run: str | None = None
    reason: str = ""
    value: float | None = None
    epoch: int | None = None
    epochs: int = 0
    elapsed_s: float = 0.0
    attempts: int = 0
    process: str = ""
    draw: Mapping[str, Any] | None = None
    started_at: str = ""
    ended_at: str = ""

    @property
    def number(self) -> int:
        """From 0."""
        return int(self.folder.name)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.state in DONE

    def begun(self) -> Trial:
        """The trial as it begins, or goes on."""
        process, started = f"{socket.gethostname()}:{os.getpid()}", self.started_at or _now()
        attempts = self.attempts + 1
        return replace(
            self, state=RUNNING, reason="", attempts=attempts, process=process, started_at=started, ended_at=""
        )

    def ended(self, state: str, reason: str = "") -> Trial:
        """The trial with its end."""
        return replace(self, state=state, reason=reason, ended_at=_now())


def trial_key(config: Mapping[str, Any], model: str) -> str:
    """12 hexadecimal digits of a trial's resolved configuration and of the name of its network's preset."""
    return settings_digest({**identity(config, APART), "model_name": model})


def write_trial(trial: Trial) -> None:
    """Write trial.json."""
    content = {name: value for name, value in asdict(trial).items() if name != "folder"}
    write_json(trial.folder / TRIAL_FILE, content)


def read_trial(folder: Path) -> Trial:
    """A trial as its file says; what an older fran did not write is as in a new trial.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    content = read_json(folder / TRIAL_FILE)
    if not isinstance(content, dict) or "key" not in content:
        raise StoreError(f"{folder / TRIAL_FILE}: expected a trial that fran wrote; delete it to train the trial anew")
    names = [f.name for f in fields(Trial) if f.name != "folder" and f.name in content]
    return Trial(folder, **{name: content[name] for name in names} | {"overrides": tuple(content["overrides"])})


def trial_lock(trial: Trial) -> AbstractContextManager[None]:
    """Hold a trial while it is trained; waits a minute for another process.

    Raises:
        StoreError: another process trains it.
    """
    # a worker whose sweep was killed may live on for a moment
    return held(trial.folder / LOCK, f"trial {trial.number} is being trained by another process", patience_s=60)


@dataclass(frozen=True)
class Sweep:
    """Several trainings of one command.

    Attributes:
        folder: of the sweep; its name is the sweep's.
        kind: "grid" or "search".
        what: the overrides that all trials have, and the values or the space of those that they differ in.
        metric: column of metrics.csv that trials are compared by.
        mode: "max" or "min".
        command: as it was first typed.
        created_at: ISO 8601.
    """

    folder: Path
    kind: str
    what: Mapping[str, Any]
    metric: str
    mode: str
    command: str
    created_at: str

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.folder.name

    def trials(self) -> list[Trial]:
        """Every trial, in the order of their numbers; one that nobody trains any more is `KILLED`.

        What cannot be read is said and left out.
        """
        found = []
        for path in self.folder.glob(f"*/{TRIAL_FILE}"):
            try:
                found.append(_as_it_is(read_trial(path.parent)))
            except StoreError as error:
                log.warning("%s", error)
        return sorted(found, key=lambda trial: trial.number)

    def add(self, key: str, overrides: Sequence[str], draw: Mapping[str, Any] | None = None) -> Trial:
        """Write down a new trial under the next number."""
        numbers = [int(p.name) for p in self.folder.iterdir() if p.name.isdigit()]
        trial = Trial(self.folder / str(max(numbers, default=-1) + 1), key, tuple(overrides), draw=draw)
        trial.folder.mkdir()
        write_trial(trial)
        return trial

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the sweep while it runs; an old request to stop is forgotten.

        Raises:
            StoreError: another process runs it.
        """
        reason = f"sweep {self.name} is being run by another process; wait for it, or name another: sweep=<name>"
        with held(self.folder / LOCK, reason):
            for path in (self.folder / STOP_FILE, *self.folder.glob(f"*/{STOP_FILE}")):
                path.unlink(missing_ok=True)
            yield

    def is_running(self) -> bool:
        """Whether a process runs it now."""
        return is_held(self.folder / LOCK)

    def stop(self, reason: str) -> None:
        """Ask every trial to write a checkpoint and end."""
        ask_to_stop(self.folder, reason)

    @property
    def stopping(self) -> bool:
        """Whether that was asked."""
        return (self.folder / STOP_FILE).is_file()

    def ranked(self, trials: Iterable[Trial]) -> list[Trial]:
        """Trials that came to an end with a value, the best first."""
        valued = [trial for trial in trials if trial.value is not None and trial.state in (FINISHED, STOPPED)]
        return sorted(valued, key=lambda t: (t.value or 0.0) * (-1 if self.mode == "max" else 1))


def ask_to_stop(folder: Path, reason: str) -> None:
    """Write the request to stop of a sweep or of one of its trials."""
    with atomic_path(folder / STOP_FILE) as temporary:
        temporary.write_text(reason, encoding="utf-8")


def asked_to_stop(folder: Path) -> str | None:
    """The reason to stop that a sweep or a trial was given."""
    try:
        return (folder / STOP_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def sweeps_in(folder: Path) -> list[Sweep]:
    """Every sweep of a project, the oldest first; what cannot be read is said and left out."""
    found = []
    for path in folder.glob(f"*/{SWEEP_FILE}"):
        try:
            found.append(read_sweep(path.parent))
        except StoreError as error:
            log.warning("%s", error)
    return sorted(found, key=lambda sweep: (sweep.created_at, sweep.name))


def find_sweep(folder: Path, name: str | None) -> Sweep:
    """The sweep of that name, or the newest.

    Raises:
        StoreError: there is none.
    """
    known = sweeps_in(folder)
    found = known[-1:] if name is None else [sweep for sweep in known if sweep.name == name]
    if found:
        return found[0]
    if not known:
        raise StoreError(f"sweep: expected one in {folder}, found none; make one: fran train -m plan=plan1,plan2")
    raise NothingNamedSo(f"sweep: no sweep '{name}' in {folder}; {choices(str(name), [s.name for s in known])}")


def read_sweep(folder: Path) -> Sweep:
    """A sweep as its file says.

    Raises:
        StoreError: there is none, or fran has not written it.
    """
    content = read_json(folder / SWEEP_FILE)
    try:
        return Sweep(folder, **content)
    except TypeError as error:
        raise StoreError(f"{folder / SWEEP_FILE}: not a sweep that fran wrote ({error})") from error


def sweep_for(
    folder: Path,
    kind: str,
    what: Mapping[str, Any],
    *,
    name: str | None,
    metric: str,
    mode: str,
    command: str,
    make: bool = True,
) -> Sweep:
    """The sweep of what is asked for, made if there is none; two processes at once get the same one.

    Args:
        folder: of the project's sweeps.
        kind, what, metric, mode, command: see `Sweep`.
        name: to find or to make; None finds a sweep of equal `what`, or makes ``sweep-<n>``.
        make: whether to write a new one down.

    Raises:
        ConfigError: the sweep of that name is another one.
    """
    what = {**what, "kind": kind}
    with exclusive(folder / LOCK):
        known = sweeps_in(folder)
        if name is None:
            found = next((s for s in reversed(known) if settings_digest(s.what) == settings_digest(what)), None)
        else:
            found = next((s for s in known if s.name == name), None)
            if found is not None and settings_digest(found.what) != settings_digest(what):
                changed = "\n  ".join(differences(found.what, what)[:8])
                raise ConfigError(
                    f"sweep: '{name}' is of something else; expected a new name, or what it began with:\n  {changed}"
                )
        if found is not None:
            return replace(found, metric=metric, mode=mode)
        made = Sweep(folder / (name or _next_name(folder)), kind, what, metric, mode, command, _now())
        content = {f.name: getattr(made, f.name) for f in fields(made) if f.name != "folder"}
        if make:
            write_json(made.folder / SWEEP_FILE, content)
    return made


def history(metrics_csv: Path, metric: str) -> list[tuple[int, float, float]]:
    """Epoch (from 1), elapsed seconds and value of each row of a metrics.csv that has the metric; NaN counts.

    Example:
        >>> history(Path("no such file"), "val/dice")
        []
    """
    if not metrics_csv.is_file():
        return []
    with metrics_csv.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get(metric)]
    return [(int(row["epoch"]), float(row["elapsed_s"]), float(row[metric])) for row in rows]


def with_figures(trial: Trial, metrics_csv: Path, metric: str, mode: str) -> Trial:
    """The trial with what the metrics of its run say."""
    rows = history(metrics_csv, metric)
    sign = 1 if mode == "max" else -1
    finite = [(sign * value, -epoch) for epoch, _, value in rows if math.isfinite(value)]
    best, epoch = max(finite, default=(math.nan, 0))
    with_value = replace(trial, value=sign * best, epoch=-epoch) if finite else trial
    every = history(metrics_csv, "epoch")
    return replace(with_value, epochs=every[-1][0], elapsed_s=every[-1][1]) if every else with_value


def _as_it_is(trial: Trial) -> Trial:
    if trial.state != RUNNING or is_held(trial.folder / LOCK):
        return trial
    again = read_trial(trial.folder)  # it may have ended between the two looks
    if again.state != RUNNING:
        return again
    return replace(again, state=KILLED, reason="its process ended without a word; most often memory ran out")


def _next_name(folder: Path) -> str:
    names = [path.name.removeprefix("sweep-") for path in folder.iterdir()]
    return f"sweep-{1 + max((int(name) for name in names if name.isdigit()), default=0)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
