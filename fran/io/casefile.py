"""One preprocessed case in one HDF5 file: image, label map, foreground samples and everything to invert it.

The volumes are compressed without loss in small chunks (:mod:`fran.io.chunked`): less than half the size of plain int16
and uint8 volumes, and a training crop still costs a few milliseconds (benchmarks/RESULTS.md). Nothing in the file
depends on the time or on the machine, so that the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from fran.errors import StoreError
from fran.io.chunked import ChunkLayout, pack, read_packed, write_chunked
from fran.io.files import atomic_path

FORMAT = 2  # 1: uncompressed volumes
MAX_FG_INDICES = 10_000
MEMORY_STEP = 1 << 24  # bytes by which the file in memory grows
NEXT_STEP = "run `fran preprocess` again: it redoes damaged and missing cases only"

Vox = tuple[int, int, int]
Affine = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class CaseMeta:
    """What is known about a stored case besides its voxels.

    Attributes:
        case_id: identifier, unique in the project.
        key: content address of the case at this stage.
        shape: (x, y, z) of image and lm.
        affine: (4, 4) voxel → mm, RAS+.
        spacing_mm: voxel size (x, y, z).
        slope, inter: raw = stored * slope + inter; 1 and 0 for CT, where stored values are HU.
        modality: "CT", "MR", "PET", ...
        labels: label value → voxel count, 0 left out.
        intensity: statistics in raw units, see :func:`fran.io.intensity.intensity_statistics`.
        geometry: JSON form of the chain native → RAS → stored.
        bboxes: label value → (first voxel, one past the last voxel), each (x, y, z).
    """

    case_id: str
    key: str
    shape: Vox
    affine: Affine
    spacing_mm: tuple[float, float, float]
    slope: float
    inter: float
    modality: str
    labels: dict[int, int]
    intensity: dict[str, float]
    geometry: dict[str, Any]
    bboxes: dict[int, tuple[Vox, Vox]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; integer keys become strings in JSON and come back as integers in :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> CaseMeta:
        """Inverse of :meth:`to_dict`, also after a trip through JSON."""
        plain = dict(d)
        plain["shape"] = _vox(d["shape"])
        plain["affine"] = tuple(tuple(float(v) for v in row) for row in d["affine"])
        plain["spacing_mm"] = tuple(float(v) for v in d["spacing_mm"])
        plain["labels"] = {int(k): int(v) for k, v in d["labels"].items()}
        plain["bboxes"] = {int(k): (_vox(lo), _vox(hi)) for k, (lo, hi) in d["bboxes"].items()}
        return cls(**plain)


def _vox(values: Any) -> Vox:
    x, y, z = (int(v) for v in values)
    return x, y, z


def content_digest(image: NDArray[np.generic], lm: NDArray[np.generic]) -> str:
    """Hash of the stored voxels, in C order, by which a whole file can be told from a damaged one."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (image, lm):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_case(
    path: Path,
    image: NDArray[np.int16 | np.float16],
    lm: NDArray[np.generic],
    meta: CaseMeta,
    fg_indices: Mapping[int, NDArray[np.generic]],
) -> None:
    """Write one case atomically; the same arguments always give the same bytes.

    Args:
        path: destination, conventionally ``<folder>/<case_id>.h5``.
        image: (x, y, z) int16 stored values, or float16 raw values.
        lm: (x, y, z) uint8 or uint16 label map on the same grid.
        meta: description; ``meta.shape`` is the arrays' shape.
        fg_indices: label value → (n, 3) voxel coordinates inside that label, n ≤ ``MAX_FG_INDICES``; when empty, the
            file has no such part.
    """
    assert image.dtype in (np.int16, np.float16), f"image is {image.dtype}, a case file stores int16 or float16"
    assert lm.dtype in (np.uint8, np.uint16), f"lm is {lm.dtype}, a case file stores uint8 or uint16"
    assert image.shape == lm.shape == tuple(meta.shape), f"{image.shape}, {lm.shape}, {meta.shape} differ"
    # Made in memory and written in one go: on a full disk HDF5 itself ends the process with a segmentation fault.
    with h5py.File(path.name, "w", driver="core", backing_store=False, block_size=MEMORY_STEP) as file:
        file.attrs["format"] = FORMAT
        file.attrs["case_id"] = meta.case_id
        file.attrs["key"] = meta.key
        file.attrs["content"] = content_digest(image, lm)
        # A dataset, for an attribute may not exceed 64 KiB and hundreds of labels would.
        text = json.dumps(meta.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        file.create_dataset("meta", data=np.frombuffer(text.encode(), np.uint8), track_times=False)
        write_chunked(file, "image", image, fill=image.min())
        write_chunked(file, "lm", lm, fill=0)
        if fg_indices:
            _write_indices(file, fg_indices, image.shape)
        file.flush()
        content: bytes = file.id.get_file_image()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _write_indices(file: h5py.File, fg_indices: Mapping[int, NDArray[np.generic]], shape: tuple[int, ...]) -> None:
    """The samples as packed differences of flat indices, one buffer a label, and a table of where each lies."""
    buffers, table, first = [], [], 0
    for label in sorted(fg_indices):
        indices = fg_indices[label]
        assert indices.ndim == 2 and indices.shape[1] == 3, f"fg_indices are (n, 3), not {indices.shape}"
        assert len(indices) <= MAX_FG_INDICES, f"{len(indices)} fg_indices, at most {MAX_FG_INDICES} are stored"
        flat = np.ravel_multi_index(tuple(indices.astype(np.int64).T), shape)
        buffers.append(pack(np.diff(flat, prepend=0)) if len(flat) else b"")
        table.append((label, len(flat), first, len(buffers[-1])))
        first += len(buffers[-1])
    file.create_dataset("fg_table", data=np.array(table, np.int64), track_times=False)
    file.create_dataset("fg_indices", data=np.frombuffer(b"".join(buffers), np.uint8), track_times=False)


@dataclass(frozen=True, eq=False)
class _Layout:
    """What is read of a file once: where its parts lie.

    Attributes:
        stamp: inode, size and time of the file that this describes.
        meta: everything but the voxels, not yet parsed.
        image, lm: layouts of the volumes.
        indices: label → (number of voxels, first byte in the file, bytes).
        content: digest of the voxels.
    """

    stamp: tuple[int, int, int]
    meta: bytes
    image: ChunkLayout
    lm: ChunkLayout
    indices: dict[int, tuple[int, int, int]]
    content: str

    @classmethod
    def of(cls, path: Path, stamp: tuple[int, int, int]) -> _Layout:
        # Files are replaced, never changed, so no lock is needed (some network file systems have none).
        with h5py.File(path, "r", locking=False) as file:
            found = int(file.attrs["format"])
            if found != FORMAT:
                raise ValueError(f"format {found}, of another version of fran, instead of {FORMAT}")
            indices = {}
            if "fg_table" in file:
                base = file["fg_indices"].id.get_offset() or 0
                indices = {int(k): (int(n), base + int(a), int(m)) for k, n, a, m in file["fg_table"][...]}
            image, lm = ChunkLayout.of(file["image"]), ChunkLayout.of(file["lm"])
            return cls(stamp, file["meta"][...].tobytes(), image, lm, indices, file.attrs["content"])


class CaseReader:
    """Read crops of one case file.

    Where the parts of the file lie is read at the first use and kept, also when the reader is closed or pickled; the
    file itself is one descriptor, which forked workers may share, for it is read by position. A file that was replaced
    meanwhile is noticed when it is opened again.

    Args:
        path: file written by :func:`write_case`.

    Raises:
        StoreError: at first use, when the file is missing, truncated, damaged or not a case file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handle: int | None = None
        self._layout: _Layout | None = None
        self._meta: CaseMeta | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> tuple[int, _Layout]:
        if self._handle is not None and self._layout is not None:
            return self._handle, self._layout
        try:
            self._handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(self._handle)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._layout is None or self._layout.stamp != stamp:
                self._layout, self._meta = _Layout.of(self.path, stamp), None
        except (OSError, KeyError, ValueError) as error:
            self.close()
            raise self._damaged(str(error)) from error
        return self._handle, self._layout

    def _damaged(self, found: str) -> StoreError:
        what = "is missing" if not self.path.exists() else f"cannot be read whole as a fran case file ({found})"
        return StoreError(f"Case {self.path.stem}: {self.path} {what}; {NEXT_STEP}.")

    @property
    def meta(self) -> CaseMeta:
        """Everything but the voxels."""
        _, layout = self._open()
        if self._meta is None:
            try:
                self._meta = CaseMeta.from_dict(json.loads(layout.meta))
            except (KeyError, TypeError, ValueError) as error:
                raise self._damaged(str(error)) from error
        return self._meta

    @property
    def shape(self) -> Vox:
        """(x, y, z) of the stored volume."""
        return _vox(self._open()[1].image.shape)

    def read(self, start: Vox, size: Vox) -> tuple[NDArray[np.int16 | np.float16], NDArray[np.generic]]:
        """Read one box, padded where it leaves the volume.

        Args:
            start: (x, y, z) of the first voxel, may be negative or beyond the volume.
            size: (x, y, z) of the result.

        Returns:
            image int16 (or float16), padded with the stored minimum, and lm uint8/uint16, padded with 0; both exactly
            ``size``.
        """
        handle, layout = self._open()
        try:
            return layout.image.read(handle, start, size), layout.lm.read(handle, start, size)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged(str(error)) from error

    def read_all(self) -> tuple[NDArray[np.int16 | np.float16], NDArray[np.generic]]:
        """The whole image and label map."""
        return self.read((0, 0, 0), self.shape)

    def fg_indices(self, label: int) -> NDArray[np.generic]:
        """(n, 3) sampled voxel coordinates inside ``label``; n = 0 where the case has none stored."""
        handle, layout = self._open()
        shape = layout.image.shape
        dtype = np.int16 if max(shape) <= np.iinfo(np.int16).max else np.int32
        count, first, size = layout.indices.get(label, (0, 0, 0))
        if not count:
            return np.empty((0, 3), dtype)
        try:
            flat = np.cumsum(read_packed(handle, first, size, np.empty(count, np.int64)))
            return np.stack(np.unravel_index(flat, shape), axis=1).astype(dtype)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged(str(error)) from error

    def verify(self) -> None:
        """Read everything back and compare the voxels with the digest written beside them.

        Raises:
            StoreError: the voxels are not those that were written, or another part cannot be read.
        """
        self.meta  # noqa: B018  (parsed for the check)
        _, layout = self._open()
        for label in layout.indices:
            self.fg_indices(label)
        if content_digest(*self.read_all()) != layout.content:
            raise self._damaged("its voxels differ from those written")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
