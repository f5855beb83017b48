"""fg_voxels.h5: facts and foreground statistics of the cases of one datasource.

One group a case: attribute ``facts`` (JSON of `CaseFacts`) and the datasets of `CaseArrays`. The file lies in a folder
of fran's own, never beside the raw data, which may be read-only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fran.datasources.records import CaseArrays, CaseFacts
from fran.errors import StoreError
from fran.io.files import atomic_path

FILE_NAME = "fg_voxels.h5"
_FORMAT = 1
_NEXT = "run add_data again to rebuild it"


def store_path(store: Path) -> Path:
    """The file inside the folder `store`."""
    return store / FILE_NAME


def read_facts(store: Path) -> dict[str, CaseFacts]:
    """Facts of every stored case; empty where nothing was stored yet.

    Raises:
        StoreError: the file is damaged or of another format.
    """
    path = store_path(store)
    if not path.exists():
        return {}
    with _opened(path) as file:
        return {case: CaseFacts.from_dict(json.loads(group.attrs["facts"])) for case, group in file.items()}


def read_arrays(store: Path, case_ids: Iterable[str]) -> Iterator[tuple[str, CaseArrays]]:
    """Arrays of the cases asked for, one after the other.

    Raises:
        StoreError: the file is damaged, or a case is not in it.
    """
    with _opened(store_path(store)) as file:
        for case_id in case_ids:
            if case_id not in file:
                raise StoreError(f"{store_path(store)}: expected statistics of case {case_id}, found none; {_NEXT}")
            group = file[case_id]
            yield case_id, CaseArrays(group["sample"][...], group["histogram"][...], group["bins"][...])


class StoreWriter:
    """Fills a new fg_voxels.h5; made by `writing`."""

    def __init__(self, file: Any, former: Any | None) -> None:
        self._file = file
        self._former = former

    def add(self, case_id: str, facts: CaseFacts, arrays: CaseArrays) -> None:
        """Store a case that was measured."""
        group = self._file.create_group(case_id)
        group.attrs["facts"] = json.dumps(facts.to_dict(), sort_keys=True)
        group["sample"] = arrays.sample
        group["histogram"] = arrays.histogram
        group.create_dataset("bins", data=arrays.bins, compression="gzip", compression_opts=1)

    def keep(self, case_id: str, facts: CaseFacts) -> None:
        """Take a case over from the former file, with `facts` in place of the old ones."""
        if self._former is None:
            raise StoreError(f"{case_id}: expected a former {FILE_NAME} to take it from, found none; {_NEXT}")
        self._former.copy(case_id, self._file)
        self._file[case_id].attrs["facts"] = json.dumps(facts.to_dict(), sort_keys=True)


@contextmanager
def writing(store: Path, keep: Mapping[str, CaseFacts]) -> Iterator[StoreWriter]:
    """Write a new file over the old one, in one rename at the end; `keep` names the cases taken over as they are."""
    path = store_path(store)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        former = h5py.File(path, "r") if keep or (path.exists() and _readable(path)) else None
        try:
            writer = StoreWriter(file, former)
            for case_id, facts in keep.items():
                writer.keep(case_id, facts)
            yield writer
        finally:
            if former is not None:
                former.close()


def _readable(path: Path) -> bool:
    try:
        with _opened(path):
            return True
    except StoreError:
        return False


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
