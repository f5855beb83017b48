"""Copies of models that live elsewhere: where from, and whether they are still whole.

Beside each copy stands ``<name>.json``. A copy without it, or one that does not agree with it, counts as none.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fran.errors import StoreError
from fran.io.files import read_json, write_json

CHUNK = 1 << 20


@dataclass(frozen=True)
class Copy:
    """What is known about a copy.

    Attributes:
        source: where it is from, without any secret.
        version: what tells this content of the source from another, as plain data: size and time, or a run's id.
        size: bytes.
        sha256: of the copy, in hex.
        checked: what the content was held against when it came.
    """

    source: str
    version: dict[str, Any]
    size: int
    sha256: str
    checked: str


def record_of(path: Path) -> Path:
    """File that tells about a copy."""
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, copy: Copy) -> None:
    """Tell about a copy that is in its place."""
    write_json(record_of(path), {**asdict(copy), "fetched": datetime.now(UTC).isoformat(timespec="seconds")})


def read_record(path: Path) -> Copy | None:
    """What is told about a copy; None where there is none."""
    try:
        stored = read_json(record_of(path))
        return Copy(**{key: stored[key] for key in Copy.__dataclass_fields__})
    except (StoreError, KeyError, TypeError):
        return None


def whole_copy(path: Path) -> Copy | None:
    """The record of a copy that is there with the bytes that came; None otherwise."""
    copy = read_record(path)
    if copy is None or not path.is_file() or path.stat().st_size != copy.size:
        return None
    return copy if sha256_of(path) == copy.sha256 else None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Of several processes that want one copy, the first gets it and the others wait and find it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
