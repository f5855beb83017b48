"""The training cases' voxels pooled, bounded in size, kept on disk so that one more case costs one case.

Two things are pooled:

* a sample of each case's foreground: at most `SAMPLE_VOXELS` in all, an equal bound for each case;
* tones: number, sum and sum of squares of all voxels by value. Values are put into bins a 4096th of a power of two
  wide, so that whole numbers below 8192 have a bin of their own, and sums stay exact in every bin.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.datasources.records import CaseArrays
from fran.io.files import atomic_path

SAMPLE_VOXELS = 1 << 21
_VERSION = 1
_BATCH = 64
_DROPPED_BITS = 11  # of a float32's 23 mantissa bits, 12 stay

ReadArrays = Callable[[Sequence[str]], Iterator[tuple[str, CaseArrays]]]
"""Yields the arrays of the cases named, samples in random order: any part from the front is a sample too."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Pooled voxels of some cases.

    Attributes:
        contents: digest of what was read of a case, by case id.
        samples: float32 (n,) of each case's foreground, in random order.
        tones: float64 (4, m), bins that are not empty: lower edge, voxels, sum, sum of squares.
    """

    contents: Mapping[str, str]
    samples: Mapping[str, NDArray[np.float32]]
    tones: Floats


def pooled(contents: Mapping[str, str], read_arrays: ReadArrays, cache: Path | None = None) -> Pool:
    """Pool of the cases in `contents` (digest by case id), reading only those that `cache` does not hold yet.

    A case that was removed or has changed means that all are read again: what was added up cannot be taken out.
    """
    former = _load(cache) if cache is not None else None
    if former is None or any(contents.get(case) != digest for case, digest in former.contents.items()):
        former = Pool({}, {}, np.zeros((4, 0)))
    missing = [case for case in contents if case not in former.contents]
    limit = SAMPLE_VOXELS // max(len(contents), 1)
    samples = {case: sample[:limit] for case, sample in former.samples.items()}
    tones = former.tones
    waiting: list[Floats] = []
    for case, arrays in read_arrays(missing) if missing else ():
        samples[case] = arrays.sample[:limit]
        waiting.append(arrays.bins)
        if len(waiting) == _BATCH:
            tones, waiting = merged_tones([tones, *map(_toned, waiting)]), []
    tones = merged_tones([tones, *map(_toned, waiting)])
    pool = Pool(dict(contents), {case: samples[case] for case in sorted(contents)}, tones)
    if cache is not None and missing:
        _save(cache, pool)
    return pool


def tones_of(bins: Iterable[Floats]) -> Floats:
    """Tones of images given by `CaseArrays.bins`."""
    return merged_tones([_toned(table) for table in bins])


def merged_tones(tables: Sequence[Floats]) -> Floats:
    """One table of tones from several."""
    table = np.concatenate([np.zeros((4, 0)), *tables], axis=1)
    edges, index = np.unique(table[0], return_inverse=True)
    sums = [np.bincount(index, weights=row, minlength=edges.size) for row in table[1:]]
    return np.stack([edges, *sums])


def _toned(bins: Floats) -> Floats:
    """`CaseArrays.bins` with the bins' edges put on the common grid, each bin by its mean value."""
    _, count, summed, squared = bins[:, bins[1] > 0]
    bits = (summed / count).astype(np.float32).view(np.uint32)
    edges = (bits >> _DROPPED_BITS << _DROPPED_BITS).view(np.float32)
    return np.stack([edges.astype(np.float64), count, summed, squared])


def _save(path: Path, pool: Pool) -> None:
    cases = list(pool.samples)
    content: dict[str, Any] = {
        "version": np.array(_VERSION),
        "cases": np.array(cases, dtype=np.str_),
        "contents": np.array([pool.contents[case] for case in cases], dtype=np.str_),
        "lengths": np.array([pool.samples[case].size for case in cases], dtype=np.int64),
        "samples": np.concatenate([np.zeros(0, np.float32), *pool.samples.values()]),
        "tones": pool.tones,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **content)


def _load(path: Path) -> Pool | None:
    """The stored pool, or None where there is none that can be used: it can always be made anew."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if int(stored["version"]) != _VERSION:
                return None
            cases = stored["cases"].tolist()
            parts = np.split(stored["samples"], np.cumsum(stored["lengths"])[:-1])
            contents = dict(zip(cases, stored["contents"].tolist(), strict=True))
            return Pool(contents, dict(zip(cases, parts, strict=False)), stored["tones"])
    except (OSError, ValueError, KeyError, EOFError, zlib.error):
        return None
