"""Surface voxels of all labels of a label map, and how far each lies from the same label's surface in another map.

Surfaces of all labels come from one comparison of each voxel with its neighbours. Most surface voxels of a usable
prediction lie within a few voxels of the reference, so the nearest one is looked for by trying the offsets to
neighbours in the order of their length: the first hit is the distance. What is farther asks a k-d tree, and where very
much is farther, a distance transform of the box around the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

#: Offsets tried before the k-d tree: a ball of about four voxels. More would cost time where a prediction is far off.
MAX_OFFSETS = 300
#: Voxels whose neighbours are compared at a time.
SLAB_VOXELS = 1 << 18
#: A transform of the whole box takes over from the tree where more than one voxel in so many asks for its distance.
VOXELS_PER_QUERY = 300
#: Distances are compared with bounds up to this relative error.
ROUNDING = 1e-6
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Surface voxels of all labels of one map.

    Attributes:
        volume: label of each surface voxel, 0 elsewhere; padded by `margin`.
        at: (n,) flat indices of the surface voxels of the wanted labels, ascending.
        label: (n,) their labels.
    """

    volume: NDArray[Any]
    at: NDArray[np.intp]
    label: NDArray[Any]

    def voxels(self, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """(m, 3) indices of some of the voxels in the padded volume."""
        return np.stack(np.unravel_index(self.at[chosen], self.volume.shape), axis=1)


@dataclass(frozen=True, eq=False)
class Ring:
    """The search for the nearest voxel of the other surface.

    Attributes:
        offsets: (k, 3) voxels, by length.
        lengths: (k,) mm, ascending.
        radius_mm: no offset up to this length is missing.
        spacing: (3,) mm.
        bound_mm: per label, beyond which a distance does not matter.
    """

    offsets: NDArray[np.intp]
    lengths: NDArray[np.float64]
    radius_mm: float
    spacing: NDArray[np.float64]
    bound_mm: Mapping[int, float]

    @classmethod
    def of(cls, spacing: NDArray[np.float64], bound_mm: Mapping[int, float]) -> Ring:
        """The offsets up to the largest bound, or about `MAX_OFFSETS` of them."""
        # a ball of k voxels has the radius (3 k / 4 pi)^(1/3) in voxels of equal volume
        largest_mm = float(np.cbrt(MAX_OFFSETS * np.prod(spacing) * 3 / (4 * np.pi)))
        radius_mm = min(max(bound_mm.values()), largest_mm) * (1 + ROUNDING)
        sides = [int(radius_mm / side) for side in spacing]
        grid = np.array(list(product(*(range(-n, n + 1) for n in sides))), dtype=np.intp)
        lengths = np.sqrt(((grid * spacing) ** 2).sum(axis=1))
        order = np.argsort(lengths, kind="stable")
        kept = order[lengths[order] <= radius_mm]
        return cls(grid[kept], lengths[kept], radius_mm, spacing, bound_mm)

    @property
    def margin(self) -> list[int]:
        """Padding (x, y, z) in voxels so that no offset leads out of a volume; at least one, which ends surfaces."""
        return [max(1, int(n)) for n in np.abs(self.offsets).max(axis=0)]

    def search(self, here: Surfaces, there: Surfaces) -> Floats:
        """Distance of each voxel of `here` from the nearest voxel of its label in `there`."""
        found = np.full(len(here.at), np.inf, np.float32)
        left = self._near(here, there.volume, found)
        for label in np.unique(here.label[left]).tolist():
            limit = self.bound_mm[label] * (1 + ROUNDING)
            mine, other = left[here.label[left] == label], np.flatnonzero(there.label == label)
            if len(other) and limit > self.radius_mm:
                found[mine] = _far(here.voxels(mine), there.voxels(other), self.spacing, limit)
        return found

    def _near(self, here: Surfaces, other: NDArray[Any], found: Floats) -> NDArray[np.intp]:
        """Fill in the distances along the offsets; return the numbers of the voxels that are farther."""
        flat, steps = other.reshape(-1), self.offsets @ (np.array(other.strides) // other.itemsize)
        left, at, label = np.arange(len(here.at)), here.at, here.label
        for length, shell in groupby(zip(self.lengths, steps, strict=True), key=lambda pair: pair[0]):
            if not len(left):
                break
            hit = np.zeros(len(left), dtype=bool)
            for _, step in shell:
                hit |= flat[at + step] == label
            found[left[hit]] = length
            miss = ~hit
            left, at, label = left[miss], at[miss], label[miss]
        return left


def find_surfaces(lm: NDArray[Any], margin: Sequence[int], wanted: NDArray[np.bool_]) -> Surfaces:
    """Surfaces of the labels for which `wanted` (by value) is true, in a map (x, y, z) padded by `margin` voxels."""
    # in C order whatever that of the map: np.pad would keep Fortran's, in which a NIfTI file is read
    padded = np.zeros([side + 2 * n for side, n in zip(lm.shape, margin, strict=True)], lm.dtype)
    padded[tuple(slice(n, n + side) for side, n in zip(lm.shape, margin, strict=True))] = lm
    volume = np.zeros_like(padded)
    # slabs that stay in the processor's cache; the padding makes the edge of the volume a change of value
    planes = max(1, SLAB_VOXELS // padded[0].size)
    for first in range(1, len(padded) - 1, planes):
        slab = slice(first, min(first + planes, len(padded) - 1))
        np.multiply(padded[slab], _touches_another(padded[first - 1 : slab.stop + 1]), out=volume[slab])
    at = np.flatnonzero(volume)
    label = volume.reshape(-1)[at]
    kept = wanted[label]
    return Surfaces(volume, at[kept], label[kept])


def _touches_another(lm: NDArray[Any]) -> NDArray[np.bool_]:
    """Which voxels of the inner x planes differ from one of their six neighbours."""
    inner = lm[1:-1]
    edge = inner != lm[:-2]
    edge |= inner != lm[2:]
    for axis in (1, 2):
        low, high = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        differs = inner[low] != inner[high]
        edge[low] |= differs
        edge[high] |= differs
    return np.asarray(edge)


def _far(
    here: NDArray[np.intp], there: NDArray[np.intp], spacing: NDArray[np.float64], bound_mm: float
) -> NDArray[np.float64]:
    """Distances in mm of some voxels (n, 3) from the nearest of others (m, 3); infinite beyond the bound."""
    low = np.minimum(here.min(axis=0), there.min(axis=0))
    sides = np.maximum(here.max(axis=0), there.max(axis=0)) - low + 1
    if len(here) * VOXELS_PER_QUERY < np.prod(sides):
        tree = KDTree(there * spacing, leafsize=32, balanced_tree=False)
        distances: NDArray[np.float64] = tree.query(here * spacing, distance_upper_bound=bound_mm)[0]
        return distances
    elsewhere = np.ones(sides, dtype=bool)
    elsewhere[tuple((there - low).T)] = False
    # the nearest voxels alone, 12 bytes a voxel of the box: scipy's distances would take 50
    nearest = distance_transform_edt(elsewhere, sampling=spacing, return_distances=False, return_indices=True)
    steps = nearest[(slice(None), *(here - low).T)].T - (here - low)
    return np.asarray(np.sqrt(((steps * spacing) ** 2).sum(axis=1)))
