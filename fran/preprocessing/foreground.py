"""Where the labels of a case are: voxel counts, bounding boxes and a bounded sample of voxels of each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fran.io.casefile import MAX_FG_INDICES, Vox

Box = tuple[Vox, Vox]


def label_boxes(lm: NDArray[np.generic]) -> tuple[dict[int, int], dict[int, Box]]:
    """Voxel count and bounding box of every label but 0, in one pass over the slices along x.

    Args:
        lm: (x, y, z) unsigned integers.

    Returns:
        label → voxel count, and label → (first voxel, one past the last voxel), both in ascending order of label.
    """
    counts: dict[int, int] = {}
    lows: dict[int, list[int]] = {}
    highs: dict[int, list[int]] = {}
    for x, plane in enumerate(lm):
        for label, count, (y0, y1), (z0, z1) in _plane_labels(plane):
            counts[label] = counts.get(label, 0) + count
            low, high = lows.setdefault(label, [x, y0, z0]), highs.setdefault(label, [x + 1, y1, z1])
            low[1:] = min(low[1], y0), min(low[2], z0)
            high[:] = x + 1, max(high[1], y1), max(high[2], z1)
    order = sorted(counts)
    return {k: counts[k] for k in order}, {k: (_vox(lows[k]), _vox(highs[k])) for k in order}


def _vox(values: list[int]) -> Vox:
    x, y, z = values
    return x, y, z


def _plane_labels(plane: NDArray[np.generic]) -> list[tuple[int, int, tuple[int, int], tuple[int, int]]]:
    """(label, count, y range, z range) of the labels in one slice (y, z)."""
    rows, columns = np.nonzero(plane)
    if not rows.size:
        return []
    values = np.asarray(plane[rows, columns]).astype(np.intp)
    tallies = np.bincount(values)
    present = np.flatnonzero(tallies)
    bounds = np.empty((4, tallies.size), np.intp)
    bounds[0], bounds[2] = plane.shape
    bounds[1] = bounds[3] = -1
    np.minimum.at(bounds[0], values, rows)
    np.maximum.at(bounds[1], values, rows)
    np.minimum.at(bounds[2], values, columns)
    np.maximum.at(bounds[3], values, columns)
    y0, y1, z0, z1 = bounds[:, present].tolist()
    return [
        (int(label), int(tallies[label]), (y0[i], y1[i] + 1), (z0[i], z1[i] + 1)) for i, label in enumerate(present)
    ]


def sample_fg_indices(
    lm: NDArray[np.generic],
    counts: dict[int, int],
    bboxes: dict[int, Box],
    *,
    case_id: str,
    seed: int = 0,
    exclude: Collection[int] = (),
    limit: int = MAX_FG_INDICES,
) -> dict[int, NDArray[np.generic]]:
    """At most ``limit`` voxels of every label, drawn without replacement and sorted.

    The draw depends on ``seed``, ``case_id`` and the label only, so that it is the same in any process.

    Args:
        lm: (x, y, z) label map.
        counts, bboxes: from :func:`label_boxes`.
        case_id: identifier of the case.
        seed: of the whole stage.
        exclude: labels to leave out.
        limit: most voxels kept of a label.

    Returns:
        label → (n, 3) voxel coordinates.
    """
    return {
        label: _sample(lm, label, counts[label], bboxes[label], _generator(seed, case_id, label), limit)
        for label in counts
        if label not in exclude
    }


def _generator(seed: int, case_id: str, label: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/{case_id}/{label}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _sample(
    lm: NDArray[np.generic], label: int, count: int, bbox: Box, rng: np.random.Generator, limit: int
) -> NDArray[np.generic]:
    low, high = bbox
    box = lm[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    flat = np.flatnonzero(box == label)
    if count > limit:
        flat = flat[np.sort(rng.choice(count, limit, replace=False, shuffle=False))]
    dtype = np.int16 if max(lm.shape) <= np.iinfo(np.int16).max else np.int32
    voxels: NDArray[np.intp] = np.stack(np.unravel_index(flat, box.shape), axis=1) + np.array(low)
    return voxels.astype(dtype)
