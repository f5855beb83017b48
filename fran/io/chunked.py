"""Compressed 3-D volumes in HDF5 whose boxes are read without HDF5.

A volume is a chunked dataset. Each chunk is one Blosc-1 buffer (bytes shuffled, LZ4) under HDF5's registered filter
32001, so that any HDF5 program with the usual Blosc plugin reads the file, too. Chunks that hold the fill value alone
are left out. For training, HDF5 is only asked once where the chunks lie; a box is then read with one ``pread`` a row of
chunks and decompressed from there: no plugin is needed and no lock is held.
Figures that led here: benchmarks/RESULTS.md and docs/decisions.md.
"""

from __future__ import annotations

import importlib
import os
import struct
from dataclasses import dataclass
from itertools import product
from types import ModuleType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

BLOSC_FILTER = 32001  # registered at https://portal.hdfgroup.org/documentation/hdf5-docs/registered_filter_plugins.html
TARGET_EDGE_VOX = 40
LEVEL = 5
_GAP_BYTES = 4096  # a node of HDF5's index may lie between two chunks
_SHUFFLE = 1  # by bytes
_HEADER = struct.Struct("<4xI4xI")  # Blosc-1: uncompressed bytes, (block bytes), compressed bytes

Box = tuple[slice, slice, slice]


class ChunkError(OSError):
    """A chunk is not what the file says it is."""


def _blosc() -> ModuleType:
    # Imported where it is used: reading a manifest needs no codec.
    module = importlib.import_module("numcodecs.blosc")
    module.use_threads = False  # type: ignore[attr-defined]  # one context a call, which a fork does not harm
    return module


def chunk_shape(shape: tuple[int, ...], edge: int = TARGET_EDGE_VOX) -> tuple[int, ...]:
    """Edges near ``edge`` that divide each side as evenly as possible, so that little is padded.

    They are multiples of 4 where the side allows it: rows of voxels are copied quicker.

    Example:
        >>> chunk_shape((250, 33, 7))
        (36, 33, 7)
    """
    return tuple(min(n, -(-n // (-(-n // edge) * 4)) * 4) for n in shape)


def write_chunked(group: h5py.Group, name: str, array: NDArray[Any], fill: float) -> None:
    """Store a volume; equal arrays give equal bytes.

    Args:
        group: open for writing.
        name: of the dataset.
        array: (x, y, z) of any fixed-size dtype and memory order.
        fill: value of voxels outside; a chunk of nothing else is not stored.
    """
    blosc, chunks = _blosc(), chunk_shape(array.shape)
    n_bytes = int(np.prod(chunks)) * array.itemsize
    options = (2, 2, array.itemsize, n_bytes, LEVEL, _SHUFFLE, 1)
    dataset = group.create_dataset(
        name, array.shape, array.dtype, chunks=chunks, fillvalue=fill, track_times=False,
        compression=BLOSC_FILTER, compression_opts=options, allow_unknown_filter=True,
    )  # fmt: skip
    buffer = np.empty(chunks, array.dtype)
    for start in product(*(range(0, n, c) for n, c in zip(array.shape, chunks, strict=True))):
        part = array[tuple(slice(a, a + c) for a, c in zip(start, chunks, strict=True))]
        if part.shape != chunks:
            buffer.fill(fill)
        buffer[tuple(slice(n) for n in part.shape)] = part
        if (buffer != buffer.dtype.type(fill)).any():
            dataset.id.write_direct_chunk(start, blosc.compress(buffer, b"lz4", LEVEL, _SHUFFLE, n_bytes))


@dataclass(frozen=True, eq=False)
class ChunkLayout:
    """Where the chunks of a volume lie in its file.

    Attributes:
        shape: (x, y, z) of the volume.
        dtype: of a voxel.
        fill: value where no chunk is stored, and outside the volume.
        chunks: (x, y, z) of a chunk.
        offsets: first byte of each chunk in the file, by its place in the grid of chunks.
        sizes: its bytes there; 0 where it is not stored.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    chunks: tuple[int, ...]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int32]

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> ChunkLayout:
        """Layout of a dataset that :func:`write_chunked` made."""
        chunks = dataset.chunks
        if chunks is None or dataset.id.get_create_plist().get_nfilters() != 1:
            raise ChunkError(f"dataset {dataset.name} is not stored in Blosc chunks")
        counts = tuple(-(-n // c) for n, c in zip(dataset.shape, chunks, strict=True))
        stored: list[tuple[tuple[int, ...], int, int]] = []
        dataset.id.chunk_iter(lambda info: stored.append((info.chunk_offset, info.byte_offset, info.size)))
        offsets, sizes = np.zeros(counts, np.int64), np.zeros(counts, np.int32)
        if stored:
            places, starts, lengths = zip(*stored, strict=True)
            index = tuple((np.array(places) // chunks).T)
            offsets[index], sizes[index] = starts, lengths
        return cls(dataset.shape, dataset.dtype, dataset.fillvalue, chunks, offsets, sizes)

    def read(self, handle: int, start: tuple[int, ...], size: tuple[int, ...]) -> NDArray[Any]:
        """Read a box.

        Args:
            handle: file descriptor of the file.
            start: (x, y, z) of the first voxel, may be negative or beyond the volume.
            size: (x, y, z) of the result.

        Returns:
            (x, y, z) in C order, the fill value outside the volume.

        Raises:
            ChunkError: a chunk is cut off or damaged.
        """
        rows = [_overlaps(*axis) for axis in zip(start, size, self.shape, self.chunks, strict=True)]
        if self._covers(rows, size):
            out = np.empty(size, self.dtype)
        else:
            out = np.zeros(size, self.dtype) if self.fill == 0 else np.full(size, self.fill, self.dtype)
            if not all(rows):
                return out
        decompress, scratch = _blosc().decompress, np.empty(self.chunks, self.dtype)
        z_first, z_stop = rows[2][0][0], rows[2][-1][0] + 1
        for (ix, from_x, to_x), (iy, from_y, to_y) in product(*rows[:2]):
            lengths = self.sizes[ix, iy, z_first:z_stop].tolist()
            places = self.offsets[ix, iy, z_first:z_stop].tolist()
            for (_, from_z, to_z), raw in zip(rows[2], _read_row(handle, places, lengths), strict=True):
                if raw is not None:
                    _check(raw, scratch.nbytes)
                    decompress(raw, scratch)
                    out[to_x, to_y, to_z] = scratch[from_x, from_y, from_z]
        return out

    def _covers(self, rows: list[list[tuple[int, slice, slice]]], size: tuple[int, ...]) -> bool:
        """Whether stored chunks give every voxel of the box, so that nothing needs to be filled."""
        inside = all(row and row[0][2].start == 0 and row[-1][2].stop == n for row, n in zip(rows, size, strict=True))
        return inside and bool(self.sizes[tuple(slice(row[0][0], row[-1][0] + 1) for row in rows)].all())


def _overlaps(start: int, size: int, full: int, chunk: int) -> list[tuple[int, slice, slice]]:
    """Along one axis: index of each chunk that a box meets, the part of the chunk, and its place in the box."""
    first, stop = max(start, 0), min(start + size, full)
    found = []
    for index in range(first // chunk, -(-stop // chunk)) if stop > first else ():
        low, high = max(first, index * chunk), min(stop, (index + 1) * chunk)
        found.append((index, slice(low - index * chunk, high - index * chunk), slice(low - start, high - start)))
    return found


def _read_row(handle: int, places: list[int], lengths: list[int]) -> list[memoryview | None]:
    """The bytes of some chunks in a row, None where one is not stored; neighbours in the file are read at once."""
    stored = [i for i, n in enumerate(lengths) if n]
    found: list[memoryview | None] = [None] * len(lengths)
    if not stored:
        return found
    begin, end = min(places[i] for i in stored), max(places[i] + lengths[i] for i in stored)
    if end - begin <= sum(lengths) + _GAP_BYTES:
        content = memoryview(os.pread(handle, end - begin, begin))
        for i in stored:
            found[i] = content[places[i] - begin : places[i] - begin + lengths[i]]
    else:
        for i in stored:
            found[i] = memoryview(os.pread(handle, lengths[i], places[i]))
    return found


def _check(raw: memoryview, n_bytes: int) -> None:
    # the decompressor believes the header, so that is compared with what the file's index and shape say
    if len(raw) < 16 or _HEADER.unpack_from(raw) != (n_bytes, len(raw)):
        raise ChunkError(f"a chunk of {len(raw)} bytes does not hold {n_bytes} bytes of voxels")


def pack(values: NDArray[Any]) -> bytes:
    """One Blosc buffer of a one-dimensional array."""
    content: bytes = _blosc().compress(np.ascontiguousarray(values), b"lz4", LEVEL, _SHUFFLE, values.nbytes)
    return content


def read_packed(handle: int, first: int, size: int, out: NDArray[Any]) -> NDArray[Any]:
    """Fill ``out`` with what :func:`pack` made of an array of its size and dtype.

    Args:
        handle: file descriptor.
        first: first byte of the buffer in the file.
        size: its bytes.
        out: one-dimensional.

    Raises:
        ChunkError: the buffer is cut off or damaged.
    """
    raw = memoryview(os.pread(handle, size, first))
    _check(raw, out.nbytes)
    _blosc().decompress(raw, out)
    return out
