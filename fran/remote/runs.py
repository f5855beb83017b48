"""Runs on a cluster: which there are, and their checkpoints here."""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from fran.errors import ConfigError, NothingNamedSo, StoreError, choices
from fran.io.checkpoint import BEST, LAST
from fran.remote.cluster import Cluster, FileState
from fran.remote.copies import one_at_a_time, read_record, whole_copy
from fran.remote.download import OnBytes, download
from fran.remote.login import Unreachable

log = logging.getLogger(__name__)

#: What hpc_storage may be: FRAN_HOME, the cold storage, the root of the checkpoints.
PLACES = ("cold/checkpoints", "checkpoints", "")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,=+@-]{0,199}")


@dataclass(frozen=True)
class RemoteRun:
    """A run folder on a cluster: name, absolute path, and its checkpoints by file name."""

    name: str
    folder: str
    files: dict[str, FileState]


def safe_name(name: str) -> bool:
    """Whether a name is one of a single folder and nothing else; servers can answer anything.

    Example:
        >>> [safe_name(n) for n in ("plan1-dynunet-f0-1", "..", "a/b", "/etc", "a\\nb", "")]
        [True, False, False, False, False, False]
    """
    return _NAME.fullmatch(name) is not None and name not in (".", "..")


def runs_folder(cluster: Cluster, project: str) -> tuple[str, list[str]]:
    """Folder of a project's runs on the cluster, and the names in it.

    Raises:
        StoreError: there is none below hpc_storage.
    """
    storage = cluster.settings.hpc_storage
    looked = [str(storage / place / project) for place in PLACES]
    for folder in looked:
        names = cluster.names(folder)
        if names is not None:
            return folder, [name for name in names if _usable(name, folder)]
    raise StoreError(
        f"{cluster.settings.place}: expected the runs of project '{project}' in one of {', '.join(looked)}, found none "
        "of these folders; set hpc_storage to what FRAN_HOME is there"
    )


def list_runs(cluster: Cluster, project: str) -> list[RemoteRun]:
    """Runs of a project that have a checkpoint, by name."""
    folder, names = runs_folder(cluster, project)
    found = (_run_in(cluster, f"{folder}/{name}", name) for name in names)
    return [run for run in found if run.files]


def fetch_run(
    cluster: Cluster, project: str, run: str, which: str, folder: Path, on_bytes: OnBytes | None = None
) -> Path:
    """Checkpoint of a run, fetched unless the copy here is whole and the cluster's is still the same.

    Args:
        cluster: where from.
        project: title.
        run: name.
        which: "best" or "last"; a run without the one has the other.
        folder: of the copies: ``<folder>/<user@host>/<project>/<run>/<checkpoint>``.
        on_bytes: see `download`.

    Raises:
        StoreError: no such run, with the names of those that are there; or see `download`.
        Unreachable: no connection, and no copy here.
    """
    if not safe_name(run):
        raise ConfigError(f"runs: expected the name of a run, found {run!r}; fran hpc ls lists those of the cluster")
    here = copies_of(cluster, project, folder) / run
    try:
        remote = find_run(cluster, project, run)
    except Unreachable as error:
        return _offline(here, which, error)
    name = next(n for n in (f"{which}.ckpt", BEST, LAST) if n in remote.files)
    target = here / name
    with one_at_a_time(target):
        copy = whole_copy(target)
        if copy is not None and copy.version == asdict(remote.files[name]):
            log.info("%s: the copy of %s in %s is up to date", run, cluster.settings.place, target)
            return target
        if read_record(target) is not None:
            why = "is damaged" if copy is None else f"is older than the run on {cluster.settings.host}"
            log.warning("%s: the copy in %s %s; it is fetched again", run, here, why)
        fetched = download(cluster, f"{remote.folder}/{name}", target, on_bytes)
    log.info("%s: %.1f MB from %s, checked by %s", run, fetched.size / 1e6, cluster.settings.place, fetched.checked)
    return target


def find_run(cluster: Cluster, project: str, run: str) -> RemoteRun:
    """A run by its name.

    Raises:
        StoreError: it is not there, or has no checkpoint; the message lists what is.
    """
    folder, names = runs_folder(cluster, project)
    found = _run_in(cluster, f"{folder}/{run}", run) if run in names else RemoteRun(run, folder, {})
    if found.files:
        return found
    what = "has no checkpoint yet" if run in names else "is not there"
    raise NothingNamedSo(f"runs: '{run}' {what}, in {folder} on {cluster.settings.place}; {choices(run, names)}")


def copies_of(cluster: Cluster, project: str, folder: Path) -> Path:
    """Folder of the copies of a project's runs."""
    return folder / cluster.settings.folder_name / project


def copy_state(run: RemoteRun, copies: Path) -> str:
    """What is here of a run: nothing, a copy, or one that is stale."""
    found = [
        (record, run.files[name])
        for name in (BEST, LAST)
        if name in run.files and (record := read_record(copies / run.name / name))
    ]
    if not found:
        return ""
    return "here" if all(record.version == asdict(state) for record, state in found) else "stale"


def _run_in(cluster: Cluster, folder: str, name: str) -> RemoteRun:
    states = {file: cluster.state(f"{folder}/{file}") for file in (BEST, LAST)}
    return RemoteRun(name, folder, {file: state for file, state in states.items() if state is not None})


def _usable(name: str, folder: str) -> bool:
    if safe_name(name):
        return True
    log.warning("the server lists %r in %s, which cannot be the name of a run; it is left alone", name, folder)
    return False


def _offline(here: Path, which: str, error: Unreachable) -> Path:
    for name in dict.fromkeys((f"{which}.ckpt", BEST, LAST)):
        if whole_copy(here / name) is not None:
            log.warning("%s; the copy in %s is used, whether or not it is still the newest", error, here / name)
            return here / name
    raise error
