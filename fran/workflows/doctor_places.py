"""What `fran doctor` looks at on the disk: folders, configuration, what killed processes left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.errors import FranError
from fran.workflows.findings import Finding, Findings, size_text

NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "beegfs",
    "gpfs",
    "ceph",
    "fuse.sshfs",
    "9p",
    "afs",
    "glusterfs",
    "fuse.glusterfs",
)
LEAST_FREE, LITTLE_FREE = 1_000_000_000, 20_000_000_000
STALE_S, SEARCH_S, DEPTH = 3600.0, 2.0, 6
SPARE = "fran cache gc project=<title> shows what no plan needs"
MOVE = "or put it elsewhere: paths.{kind}=<folder>, or the key of $FRAN_COMMON_PATHS"


def folders(roots: Mapping[str, Path]) -> Findings:
    """Each root: there, writable, with room, and on what kind of file system.

    Args:
        roots: folder by its name in the configuration; "home" and "scratch" too.
    """
    begun = any((roots["projects"]).glob("*/cases.db"))
    for kind, folder in roots.items():
        try:
            yield _folder(kind, folder, begun)
        except OSError as error:
            step = f"chmod or chown its parents, {MOVE.format(kind=kind)}"
            yield Finding(kind, f"{folder}: cannot be looked at: {error.strerror}", "problem", step)


def _folder(kind: str, folder: Path, begun: bool) -> Finding:
    elsewhere = MOVE.format(kind=kind)
    if kind in ("cold", "checkpoints") and begun and not folder.exists():
        found = f"{folder} is not there, but projects are"
        return Finding(kind, found, "problem", f"mount the disk that it is on, {elsewhere}")
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    system = file_system(place)
    try:
        locks = _write(place)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        step = SPARE if full else f"chmod, chown or mount {place} so that you can write to it"
        found = f"{folder}: nothing can be written to {place} ({system}): {error.strerror}"
        return Finding(kind, found, "problem", f"{step}, {elsewhere}")
    usage = shutil.disk_usage(place)
    made = "" if place == folder else ", will be made"
    found = f"{folder}{made} ({system}, {size_text(usage.free)} free of {size_text(usage.total)})"
    if usage.free < LEAST_FREE:
        return Finding(kind, f"{found}: nearly full", "problem", f"{SPARE}, {elsewhere}")
    if not locks:
        step = "never train one run from two machines; where many jobs run, tracking=offline"
        return Finding(kind, f"{found}: files cannot be locked there", "note", step)
    return _worth_knowing(kind, found, system, usage.free)


def _worth_knowing(kind: str, found: str, system: str, free: int) -> Finding:
    if system.startswith(NETWORK) and kind == "projects":
        step = "where several machines write at once: tracking=offline, then fran mlflow merge"
        return Finding(kind, f"{found}: SQLite over a network", "note", step)
    if system.startswith(NETWORK) and kind in ("rapid", "scratch"):
        return Finding(
            kind, f"{found}: read over a network at every step", "note", f"a local disk: paths.{kind}=<folder>"
        )
    if system == "tmpfs" and kind not in ("scratch", "rapid"):
        return Finding(kind, f"{found}: gone with the next start of the machine", "note", MOVE.format(kind=kind)[3:])
    if free < LITTLE_FREE and kind != "home":
        step = "a large project takes more; fran plan explain project=<title> says how much"
        return Finding(kind, found, "note", step)
    return Finding(kind, found)


def _write(folder: Path) -> bool:
    """Try to write to a folder; whether files can be locked there.

    Raises:
        OSError: nothing can be written.
    """
    with tempfile.NamedTemporaryFile(prefix=".tmp-doctor-", dir=folder) as file:
        file.write(b"fran" * 1024)
        file.flush()
        os.fsync(file.fileno())
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Kind of the file system that a folder is on; "?" where that cannot be told."""
    try:
        rows = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    except OSError:
        return "?"
    place = folder.resolve()
    found = [(at, kind) for at, kind in rows if place.is_relative_to(at.encode().decode("unicode_escape"))]
    return max(found, key=lambda row: len(row[0]), default=("", "?"))[1]


def configuration() -> Findings:
    """Folders of the user's own configuration, and the form of the plans in them."""
    from fran.workflows.composition import OTHER_KEYS
    from fran.workflows.locations import conf_dir, user_conf_dirs
    from fran.workflows.plan_files import lint, plan_names

    for name in filter(None, os.environ.get("FRAN_CONF", "").split(os.pathsep)):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            yield Finding("FRAN_CONF", f"{folder} is not there", "problem", "correct FRAN_CONF, or unset it")
        elif not any(folder.rglob("*.yaml")):
            yield Finding("FRAN_CONF", f"{folder} holds no yaml files", "problem", "plans go to plan/ in it")
    own = user_conf_dirs()
    for plan in plan_names(own):
        try:
            wrong = [f"{p.key}: expected {p.expected}" for p in lint(plan, [*own, conf_dir()], OTHER_KEYS)]
        except (FranError, OSError, ValueError) as error:
            wrong = [str(error).partition("\n")[0]]
        if wrong:
            yield Finding(f"plan {plan}", "; ".join(wrong[:3]), "problem", f"fran plan show {plan} names the lines")
    said = ", ".join(str(folder) for folder in own) or "none but the shipped one"
    yield Finding("configuration", f"{said}; {len(plan_names(own))} plans of your own")


@dataclass
class _Left:
    """Temporary files and folders that nobody writes any more."""

    paths: list[Path]
    n_bytes: int = 0
    whole: bool = True


def leftovers(roots: Sequence[Path], now: float | None = None) -> Findings:
    """What killed processes left: temporary files older than an hour, and trainings that were not finished.

    Locks are none of them: fran's are held by processes, and end with them.
    """
    left = _Left([])
    deadline = time.monotonic() + SEARCH_S
    for root in roots:
        _search(root, left, (now or time.time()) - STALE_S, deadline, DEPTH)
    searched = "" if left.whole else " (not everything was searched)"
    if left.paths:
        more = f" and {len(left.paths) - 3} more" if len(left.paths) > 3 else ""
        names = ", ".join(str(path) for path in left.paths[:3])
        size = size_text(left.n_bytes)
        found = f"{len(left.paths)} half-written files or folders of processes that ended, {size}: {names}{more}"
        where = shlex.join(str(root) for root in roots if any(path.is_relative_to(root) for path in left.paths))
        step = f"while no fran runs: find {where} -name '.tmp-*' -mmin +60 -prune -exec rm -r {{}} +"
        yield Finding("leftovers", found + searched, "note", step)
    else:
        yield Finding("leftovers", f"none{searched}")


def _search(folder: Path, left: _Left, before: float, deadline: float, depth: int) -> None:
    for entry in _entries(folder):
        if time.monotonic() > deadline:
            left.whole = False
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if entry.name.startswith(".tmp-") and status.st_mtime < before:
                left.paths.append(Path(entry.path))
                left.n_bytes += _bytes(entry)
            elif depth and entry.is_dir(follow_symlinks=False):
                _search(Path(entry.path), left, before, deadline, depth - 1)
        except OSError:
            continue


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _bytes(entry: os.DirEntry[str]) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return entry.stat(follow_symlinks=False).st_size
    return sum(file.stat().st_size for file in Path(entry.path).rglob("*") if file.is_file())


def trainings(checkpoints: Path) -> Findings:
    """Trainings that were interrupted and go on when told."""
    from fran.tracking.runs import in_training, records

    for folder in sorted(path for path in checkpoints.glob("*") if path.is_dir()):
        open_runs = [run for run in records(folder) if not run.finished and (run.folder / "last.ckpt").is_file()]
        try:
            idle = [run.name for run in open_runs if not in_training(run.folder)]
        except OSError:
            continue
        if idle:
            found = f"{len(idle)} trainings of project {folder.name} ended before their time: {', '.join(idle[:3])}"
            more = ", …" if len(idle) > 3 else ""
            step = f"fran train project={folder.name} resume={idle[-1]}"
            yield Finding("trainings", f"{found}{more}", "note", step)
