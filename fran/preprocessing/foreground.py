"""Where the labels of a case are: voxel counts, bounding boxes and a bounded sample of voxels of each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fran.io.casefile import MAX_FG_INDICES, Vox

Box = tuple[Vox, Vox]


def label_boxes(lm: NDArray[np.generic]) -> tuple[dict[int, int], dict[int, Box]]:
    """Voxel count and bounding box of every label but 0.

    Args:
        lm: (x, y, z) unsigned integers.

    Returns:
        label → voxel count, and label → (first voxel, one past the last voxel), both in ascending order of label.
    """
    order = sorted(range(3), key=lambda axis: -abs(lm.strides[axis]))
    in_memory = lm.transpose(order)
    tallies = _tallies(in_memory)
    present = [int(label) for label in np.flatnonzero(tallies) if label]
    found = ndimage.find_objects(in_memory, max(present, default=0))
    boxes = {label: _box([found[label - 1][order.index(axis)] for axis in range(3)]) for label in present}
    return {label: int(tallies[label]) for label in present}, boxes


def _tallies(lm: NDArray[np.generic]) -> NDArray[np.intp]:
    """Voxels of each value, plane by plane, for bincount makes 8 bytes of each voxel."""
    tallies = np.zeros(int(lm.max()) + 1, np.intp)
    for plane in lm:
        tallies += np.bincount(plane.ravel(), minlength=tallies.size)
    return tallies


def _box(ranges: Sequence[slice]) -> Box:
    x, y, z = ranges
    return (x.start, y.start, z.start), (x.stop, y.stop, z.stop)


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
