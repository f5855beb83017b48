"""Class probabilities of a case on the image's own voxels, written block by block as the scores become final."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fran.geometry import Grid
from fran.preprocessing.scores import Scores, SlabArgmax

SUFFIX = "_probabilities.h5"
_CHUNK = 64


class ProbabilityFile:
    """HDF5 file with the dataset ``probabilities``: (n_classes, x, y, z) float16, RAS+, gzip.

    Its attributes are ``affine`` (voxel to mm, RAS+) and ``names`` (JSON list, a name for each channel). The largest of
    a voxel's channels is that of the label map. What no block covers is background.

    Args:
        path: file to write.
        grid: RAS+ grid of the image.
        names: of the channels, background first.
    """

    def __init__(self, path: Path, grid: Grid, names: list[str]) -> None:
        self._file = h5py.File(path, "w")
        shape = (len(names), *grid.shape)
        chunks = (1, *(min(_CHUNK, n) for n in grid.shape))
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
        self._data = self._file.create_dataset("probabilities", shape, np.float16, **options)
        self._data.attrs["affine"] = grid.affine
        self._data.attrs["names"] = json.dumps(names)

    def __enter__(self) -> ProbabilityFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def background(self) -> None:
        """Background everywhere, for what no block will cover."""
        for x in range(0, self._data.shape[1], _CHUNK):
            self._data[0, x : x + _CHUNK] = 1.0

    def write(self, scores: Scores, argmax: SlabArgmax, begin: int, end: int) -> None:
        """Write the slabs `begin` to one before `end`.

        Args:
            scores: (C, x, y, z) logits or logarithms of probabilities on the stored grid.
            argmax: whose blocks and interpolation are taken, so that both agree.
            begin, end: numbers of slabs.
        """
        for target, block in argmax.interpolated(scores, begin, end):
            self._data[(slice(None), *target)] = _softmax(block)


def read_probabilities(path: Path) -> tuple[NDArray[np.float16], list[str], Mapping[str, Any]]:
    """(n_classes, x, y, z) probabilities, names of the channels, and the other attributes of a file."""
    with h5py.File(path, "r") as file:
        data = file["probabilities"]
        return data[...], json.loads(data.attrs["names"]), {"affine": data.attrs["affine"]}


def _softmax(block: NDArray[np.float32]) -> NDArray[np.float16]:
    block = np.exp(block - block.max(axis=0))
    return np.asarray(block / block.sum(axis=0), np.float16)
