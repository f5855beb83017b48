"""fg_voxels.h5: facts and foreground statistics of the cases of one datasource.

    fg_voxels.h5        dataset ``index`` (JSON of every case's facts, and of what was refused), and one external link a
                        case, so that ``file["kits_00004"]["sample"]`` opens in any HDF5 program
    fg_voxels/<case>.<digest>.h5
                        the datasets of `CaseArrays` of one case, with its facts; written once

A case that is finished is a file of its own at once, and is taken up by the next scan if this one is killed; the index
is replaced whole, in one rename, at the end. One case more therefore costs one small file and one index. Both lie in a
folder of fran's own, never beside the raw data, which may be read-only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from fran.datasources.records import CaseArrays, CaseFacts, Refusal
from fran.errors import StoreError
from fran.io.files import atomic_path

FILE_NAME = "fg_voxels.h5"
CASES = "fg_voxels"
_FORMAT = 2
_LOCK = ".lock"
_NEXT = "run add_data again to rebuild it"


@dataclass(frozen=True)
class StoredCase:
    """Facts of a case, and the file of its arrays."""

    facts: CaseFacts
    file: str
    bytes: int


@dataclass
class Index:
    """What a store knows.

    Attributes:
        cases: measured cases by id.
        refused: cases that cannot be used, by id.
    """

    cases: dict[str, StoredCase] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)


def store_path(store: Path) -> Path:
    """The file inside the folder `store`."""
    return store / FILE_NAME


@contextmanager
def locked(store: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the store alone; `waiting` is called where another process holds it. A killed holder lets go."""
    with _lock_file(store) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _lock_file(store: Path) -> IO[str]:
    try:
        if not store.is_dir():
            store.mkdir(parents=True, exist_ok=True)
        return (store / _LOCK).open("w")
    except OSError as error:
        raise StoreError(
            f"{store}: expected a folder that can be written to, for the statistics, found: {error.strerror}; "
            "FRAN_HOME names another place for everything fran keeps"
        ) from error


def read_facts(store: Path) -> dict[str, CaseFacts]:
    """Facts of every stored case; empty where nothing was stored yet.

    Raises:
        StoreError: the file is damaged or of another format.
    """
    return {case_id: case.facts for case_id, case in read_index(store).cases.items()}


def read_index(store: Path) -> Index:
    """The index; empty where nothing was stored yet.

    Raises:
        StoreError: the file is damaged or of another format.
    """
    path = store_path(store)
    if not path.exists():
        return Index()
    with _opened(path) as file:
        try:
            stored = json.loads(file["index"][...].tobytes())
            return Index(
                {case: _stored_case(content) for case, content in stored["cases"].items()},
                {case: Refusal.from_dict(content) for case, content in stored["refused"].items()},
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise StoreError(
                f"{path}: expected an index of its cases, found none that reads: {error}; {_NEXT}"
            ) from error


def _stored_case(content: Mapping[str, Any]) -> StoredCase:
    return StoredCase(CaseFacts.from_dict(content["facts"]), content["file"], content["bytes"])


def read_arrays(store: Path, case_ids: Iterable[str], limit: int | None = None) -> Iterator[tuple[str, CaseArrays]]:
    """Arrays of the cases asked for, one after the other.

    Args:
        store: folder.
        case_ids: cases.
        limit: at most so many voxels of each sample; any number of them is a fair sample.

    Raises:
        StoreError: the file is damaged, or a case is not in it.
    """
    cases = read_index(store).cases
    for case_id in case_ids:
        if case_id not in cases:
            raise StoreError(f"{store_path(store)}: expected statistics of case {case_id}, found none; {_NEXT}")
        with _opened(store / CASES / cases[case_id].file) as file:
            yield case_id, CaseArrays(file["sample"][:limit], file["histogram"][...], file["bins"][...])


def add_case(store: Path, case_id: str, facts: CaseFacts, arrays: CaseArrays) -> StoredCase:
    """Write the file of one case; `write_index` makes it known."""
    text = json.dumps({"case_id": case_id, "facts": facts.to_dict()}, sort_keys=True).encode()
    seen = hashlib.blake2b(digest_size=6)
    for part in (*facts.content, arrays.sample.tobytes()):
        seen.update(part if isinstance(part, bytes) else part.encode())
    path = store / CASES / f"{case_id}.{seen.hexdigest()}.h5"
    # not durable: what a power cut spoils has another size than the index says, and is made again
    with atomic_path(path, durable=False) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        file["facts"] = np.frombuffer(text, np.uint8)  # an attribute holds 64 KiB at most: many labels do not fit
        file["sample"] = arrays.sample
        file["histogram"] = arrays.histogram
        file["bins"] = arrays.bins
    return StoredCase(facts, path.name, path.stat().st_size)


def is_whole(store: Path, case: StoredCase) -> bool:
    """Whether the file of a case is there, with the size it had."""
    try:
        return (store / CASES / case.file).stat().st_size == case.bytes
    except OSError:
        return False


def strays(store: Path, index: Index) -> dict[str, StoredCase]:
    """Cases that a scan finished before it was killed: their files are there, and the index does not know them."""
    known = {case.file for case in index.cases.values()}
    found = {}
    for path in sorted((store / CASES).glob("[!.]*.h5")):
        if path.name not in known:
            try:
                with _opened(path) as file:
                    stored = json.loads(file["facts"][...].tobytes())
                facts = CaseFacts.from_dict(stored["facts"])
                found[stored["case_id"]] = StoredCase(facts, path.name, path.stat().st_size)
            except (StoreError, KeyError, TypeError, ValueError):
                continue  # `write_index` sweeps it away
    return found


def write_index(store: Path, index: Index) -> None:
    """Replace the index in one rename, then remove files that no case needs any more."""
    content = {
        "cases": {
            case_id: {"facts": case.facts.to_dict(), "file": case.file, "bytes": case.bytes}
            for case_id, case in index.cases.items()
        },
        "refused": {case_id: refusal.to_dict() for case_id, refusal in index.refused.items()},
    }
    text = json.dumps(content, sort_keys=True).encode()
    with atomic_path(store_path(store)) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["format"] = _FORMAT
        file["index"] = np.frombuffer(text, np.uint8)
        for case_id, case in sorted(index.cases.items()):
            file[case_id] = h5py.ExternalLink(f"{CASES}/{case.file}", "/")
    needed = {case.file for case in index.cases.values()}
    for path in (store / CASES).glob("*"):
        if path.name not in needed:
            path.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise StoreError(f"{path}: expected an HDF5 file written by fran, found: {error}; {_NEXT}") from error
    with file:
        found = file.attrs.get("format")
        if found is None or int(np.asarray(found)) != _FORMAT:
            raise StoreError(f"{path}: expected format {_FORMAT}, found {found}; {_NEXT}")
        yield file
