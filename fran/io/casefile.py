"""One preprocessed case in one HDF5 file: int16 image, label map, foreground samples and everything to invert it.

The volumes are stored uncompressed in 64-voxel chunks: a training crop then costs a few milliseconds, where gzip costs
tens (measured with benchmarks/bench_preprocess.py). Nothing in the file depends on the time or on the machine, so that
the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fran.errors import StoreError
from fran.io.files import atomic_path

FORMAT = 1
CHUNK_VOX = 64
MAX_FG_INDICES = 10_000
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


def content_digest(image: NDArray[np.int16], lm: NDArray[np.generic]) -> str:
    """Hash of the stored voxels, in C order, by which a whole file can be told from a damaged one."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (image, lm):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_case(
    path: Path,
    image: NDArray[np.int16],
    lm: NDArray[np.generic],
    meta: CaseMeta,
    fg_indices: Mapping[int, NDArray[np.generic]],
) -> None:
    """Write one case atomically; the same arguments always give the same bytes.

    Args:
        path: destination, conventionally ``<folder>/<case_id>.h5``.
        image: (x, y, z) int16 stored values.
        lm: (x, y, z) uint8 or uint16 label map on the same grid.
        meta: description; ``meta.shape`` is the arrays' shape.
        fg_indices: label value → (n, 3) voxel coordinates inside that label, n ≤ ``MAX_FG_INDICES``.
    """
    assert image.dtype == np.int16, f"image is {image.dtype}, a case file stores int16"
    assert lm.dtype in (np.uint8, np.uint16), f"lm is {lm.dtype}, a case file stores uint8 or uint16"
    assert image.shape == lm.shape == tuple(meta.shape), f"{image.shape}, {lm.shape}, {meta.shape} differ"
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["case_id"] = meta.case_id
        file.attrs["key"] = meta.key
        file.attrs["content"] = content_digest(image, lm)
        file.attrs["minimum"] = np.int16(image.min())
        # A dataset, for an attribute may not exceed 64 KiB and hundreds of labels would.
        text = json.dumps(meta.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        file.create_dataset("meta", data=np.frombuffer(text.encode(), np.uint8), track_times=False)
        chunks = tuple(min(CHUNK_VOX, n) for n in image.shape)
        for name, array in (("image", image), ("lm", lm)):
            file.create_dataset(name, data=array, chunks=chunks, fillvalue=0, track_times=False)
        group = file.create_group("fg_indices")
        for label in sorted(fg_indices):
            group.create_dataset(str(label), data=_indices(fg_indices[label], image.shape), track_times=False)


def _indices(indices: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    assert indices.ndim == 2 and indices.shape[1] == 3, f"fg_indices are (n, 3), not {indices.shape}"
    assert len(indices) <= MAX_FG_INDICES, f"{len(indices)} fg_indices, at most {MAX_FG_INDICES} are stored"
    return indices.astype(np.int16 if max(shape) <= np.iinfo(np.int16).max else np.int32)


class CaseReader:
    """Read crops of one case file.

    The file is opened at the first use, once per process: an instance can be pickled to data-loader workers and
    survives a fork, in both cases the other process opens its own handle.

    Args:
        path: file written by :func:`write_case`.

    Raises:
        StoreError: at first use, when the file is missing, truncated, damaged or not a case file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._pid = 0
        self._meta: CaseMeta | None = None
        self._datasets: tuple[h5py.Dataset, h5py.Dataset] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_handle": None, "_pid": 0, "_meta": self._meta, "_datasets": None}

    def __enter__(self) -> CaseReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _file(self) -> h5py.File:
        if self._handle is None or self._pid != os.getpid():
            try:
                # Files are replaced, never changed, so no lock is needed (some network file systems have none).
                self._handle = h5py.File(self.path, "r", locking=False)
                if self._handle.attrs["format"] != FORMAT:
                    raise self._damaged(f"format {self._handle.attrs['format']} instead of {FORMAT}")
                # Looking a dataset up costs as much as a small crop, so both are kept.
                self._datasets = self._handle["image"], self._handle["lm"]
            except (OSError, KeyError) as error:
                raise self._damaged(str(error)) from error
            self._pid = os.getpid()
        return self._handle

    def _damaged(self, found: str) -> StoreError:
        what = "is missing" if not self.path.exists() else f"cannot be read whole as a fran case file ({found})"
        return StoreError(f"Case {self.path.stem}: {self.path} {what}; {NEXT_STEP}.")

    @property
    def meta(self) -> CaseMeta:
        """Everything but the voxels."""
        if self._meta is None:
            try:
                self._meta = CaseMeta.from_dict(json.loads(self._file["meta"][...].tobytes()))
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise self._damaged(str(error)) from error
        return self._meta

    @property
    def shape(self) -> Vox:
        """(x, y, z) of the stored volume."""
        return self.meta.shape

    def read(self, start: Vox, size: Vox) -> tuple[NDArray[np.int16], NDArray[np.generic]]:
        """Read one box, padded where it leaves the volume.

        Args:
            start: (x, y, z) of the first voxel, may be negative or beyond the volume.
            size: (x, y, z) of the result.

        Returns:
            image int16, padded with the stored minimum, and lm uint8/uint16, padded with 0; both exactly ``size``.
        """
        inside = [
            slice(max(0, a), max(0, min(a + n, full))) for a, n, full in zip(start, size, self.shape, strict=True)
        ]
        try:
            file, datasets = self._file, self._datasets
            assert datasets is not None
            if all(s.stop - s.start == n for s, n in zip(inside, size, strict=True)):
                return datasets[0][tuple(inside)], datasets[1][tuple(inside)]
            image, lm = np.full(size, file.attrs["minimum"], np.int16), np.zeros(size, datasets[1].dtype)
            if all(s.stop > s.start for s in inside):
                target = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, start, strict=True))
                image[target], lm[target] = (d[tuple(inside)] for d in datasets)
        except (OSError, KeyError) as error:
            raise self._damaged(str(error)) from error
        return image, lm

    def read_all(self) -> tuple[NDArray[np.int16], NDArray[np.generic]]:
        """The whole image and label map."""
        return self.read((0, 0, 0), self.shape)

    def fg_indices(self, label: int) -> NDArray[np.generic]:
        """(n, 3) sampled voxel coordinates inside ``label``; n = 0 where the case has none stored."""
        try:
            group = self._file["fg_indices"]
            return group[str(label)][...] if str(label) in group else np.empty((0, 3), np.int16)
        except (OSError, KeyError) as error:
            raise self._damaged(str(error)) from error

    def verify(self) -> None:
        """Read everything back and compare it with the digest written beside it.

        Raises:
            StoreError: the voxels are not those that were written.
        """
        self.meta  # noqa: B018  (parsed for the check)
        image, lm = self.read_all()
        if content_digest(image, lm) != self._file.attrs["content"]:
            raise self._damaged("its voxels differ from those written")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._handle is not None and self._pid == os.getpid():
            self._handle.close()
        self._handle = self._datasets = None
