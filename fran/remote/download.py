"""One file of a cluster: resumed where it broke off, checked against what is there, renamed at the end.

While it comes it is ``<name>.part``, and ``<name>.part.json`` says what it is the beginning of. A part of another
content is thrown away.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fran.errors import StoreError
from fran.io.files import read_json, write_json
from fran.remote.cluster import Cluster, FileState
from fran.remote.copies import CHUNK, Copy, write_record
from fran.remote.login import Unreachable

log = logging.getLogger(__name__)

#: Attempts in a row that bring no byte before a lost connection is an error.
PATIENCE = 3
BY_CLUSTER = "sha256sum of the cluster"
BY_CONTENT = "size and the checksums inside the file"
OnBytes = Callable[[int, int], None]


class _Changed(Exception):
    """The file became another one while it was read, or what came is not what is there."""


def download(cluster: Cluster, path: str, target: Path, on_bytes: OnBytes | None = None, pause_s: float = 1.0) -> Copy:
    """Fetch a checkpoint.

    Args:
        cluster: where from.
        path: absolute, on the cluster.
        target: where to; it is replaced at once, when everything has come and was checked.
        on_bytes: called with (bytes that are here, bytes in all).
        pause_s: before the connection is made anew; doubled each time.

    Returns:
        What is known about the copy, which is written beside it too.

    Raises:
        Unreachable: the connection was lost again and again; what came stays for the next time.
        StoreError: the file is missing, changes all the time or comes damaged, or there is no room for it here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, fruitless, damaged = target.with_name(f"{target.name}.part"), 0, False
    while True:
        before = _size(part)
        try:
            return _attempt(cluster, path, target, part, on_bytes)
        except _Changed as error:
            _forget(part)
            if damaged:
                raise StoreError(
                    f"{cluster.settings.place}: {path}: {error}, twice; wait until it is written"
                ) from error
            damaged = True
            log.warning("%s: %s; it is fetched again from its beginning", path, error)
        except Unreachable as error:
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= PATIENCE:
                kept = f"; {_size(part)} bytes are here, the same command goes on from there" if _size(part) else ""
                raise Unreachable(f"{error}{kept}") from error
            log.warning("%s; trying again", error)
            time.sleep(pause_s * 2**fruitless)


def _attempt(cluster: Cluster, path: str, target: Path, part: Path, on_bytes: OnBytes | None) -> Copy:
    state = cluster.state(path)
    if state is None:
        raise StoreError(
            f"{cluster.settings.place}: expected a file {path}, found none; fran hpc ls lists what is there"
        )
    expected = cluster.sha256(path)
    start = _begun(part, {"path": path, **asdict(state), "sha256": expected})
    _check_room(part, state.size - start, path)
    digest = _copy(cluster, path, part, start, state.size, on_bytes)
    # a file put in another's place within a second may have its size and, as SFTP tells whole seconds, its time
    if cluster.state(path) != state or cluster.sha256(path) != expected:
        raise _Changed("it was changed while it was read")
    _check(part, state, digest, expected)
    copy = Copy(
        source=f"sftp://{cluster.settings.place}{path}",
        version=asdict(state),
        size=state.size,
        sha256=digest,
        checked=BY_CLUSTER if expected else BY_CONTENT,
    )
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    part.replace(target)
    _forget(part)
    write_record(target, copy)
    return copy


def _copy(cluster: Cluster, path: str, part: Path, start: int, size: int, on_bytes: OnBytes | None) -> str:
    """Append what is missing to the part; SHA-256 of the whole in hex."""
    digest, have = hashlib.sha256(), start
    with part.open("r+b" if start else "wb") as sink:
        while piece := sink.read(CHUNK) if start else b"":
            digest.update(piece)
        for piece in cluster.read(path, start):
            if have + len(piece) > size:
                raise _Changed(f"expected {size} bytes, got more")  # a server could go on for ever
            digest.update(piece)
            try:
                sink.write(piece)
                sink.flush()
            except OSError as error:
                raise _no_room(part, path, f"{error.strerror} after {have} of {size} bytes") from error
            have += len(piece)
            if on_bytes is not None:
                on_bytes(have, size)
    return digest.hexdigest()


def _check(part: Path, state: FileState, digest: str, expected: str | None) -> None:
    if _size(part) != state.size:
        raise _Changed(f"expected {state.size} bytes, got {_size(part)}")
    if expected is not None:
        if digest != expected:
            raise _Changed(f"expected SHA-256 {expected[:12]}…, got {digest[:12]}…")
        return
    # PyTorch's checkpoints are zip files, which keep a checksum of each of their parts
    try:
        with zipfile.ZipFile(part) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise _Changed(f"no whole checkpoint came ({error})") from error
    if broken is not None:
        raise _Changed(f"its part {broken} came damaged")


def _begun(part: Path, what: dict[str, Any]) -> int:
    """Bytes that are here already of exactly this content; anything else is thrown away."""
    note = part.with_name(f"{part.name}.json")
    try:
        same = read_json(note) == what
    except StoreError:
        same = False
    if same and 0 < _size(part) <= what["size"]:
        return _size(part)
    _forget(part)
    write_json(note, what)
    return 0


def _check_room(part: Path, missing: int, path: str) -> None:
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise _no_room(part, path, f"{free} bytes free, {missing} needed")


def _no_room(part: Path, path: str, found: str) -> StoreError:
    return StoreError(
        f"{path}: expected room for it in {part.parent}, found a full disk ({found}); free space, or set paths.cold to "
        "another disk; what has come is kept"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)
