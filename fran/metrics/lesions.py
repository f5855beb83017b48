"""Lesions found, missed and made up: connected components of a prediction matched to those of a reference."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fran.metrics.surface import foreground_box

#: Voxels that share a face, an edge or a corner belong to one component.
CONNECTIVITY: Final = 26


@dataclass(frozen=True)
class Lesions:
    """Components of one label counted.

    Attributes:
        tp: pairs of a component of the prediction and one of the reference; each component is in one pair at most.
        fp: components of the prediction without a partner.
        fn: components of the reference without a partner.
    """

    tp: int
    fp: int
    fn: int

    @property
    def n_pred(self) -> int:
        """Components of the prediction."""
        return self.tp + self.fp

    @property
    def n_ref(self) -> int:
        """Components of the reference."""
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        """Share of the predicted components that have a partner; NaN where nothing was predicted."""
        return ratio(self.tp, self.n_pred)

    @property
    def recall(self) -> float:
        """Share of the reference's components that were found; NaN where there is nothing to find."""
        return ratio(self.tp, self.n_ref)

    @property
    def f1(self) -> float:
        """``2 tp / (2 tp + fp + fn)``; NaN where there is no component at all."""
        return ratio(2 * self.tp, self.n_pred + self.n_ref)


def lesion_scores(
    pred: NDArray[Any], ref: NDArray[Any], labels: Collection[int], min_iou: float = 0.1
) -> dict[int, Lesions]:
    """Match the connected components (26 neighbours) of some labels.

    A component of the prediction and one of the reference may be a pair where they share voxels and their intersection
    over union is at least `min_iou`. As many pairs are made as can be, each component in one at most, so that a lesion
    predicted in two pieces is found once and leaves a false positive, and two lesions predicted as one are one found
    and one missed.

    Args:
        pred: (x, y, z) unsigned label map.
        ref: (x, y, z) unsigned label map on the same grid.
        labels: values to compare, 0 excluded.
        min_iou: 0 asks for a common voxel alone.

    Raises:
        ValueError: shapes or types are impossible, or `min_iou` is not within 0 and 1.

    Example:
        >>> ref = np.zeros((9, 4, 3), np.uint8)
        >>> ref[1:3, 1, 1], ref[5:8, 1, 1] = 1, 1
        >>> pred = np.roll(ref, 1, axis=0)
        >>> pred[0, 3, 2] = 1
        >>> lesion_scores(pred, ref, [1])[1]
        Lesions(tp=2, fp=1, fn=0)
    """
    _check(pred, ref, min_iou)
    wanted = np.zeros(int(max(pred.max(initial=0), ref.max(initial=0), *labels, 0)) + 1, dtype=bool)
    wanted[list(labels)] = True
    box = foreground_box(pred, ref)
    if box is None:
        return dict.fromkeys(labels, Lesions(0, 0, 0))
    found, there = _components(pred[box], wanted), _components(ref[box], wanted)
    tp = np.bincount(_matched_labels(found, there, min_iou), minlength=len(wanted))
    n_pred, n_ref = (np.bincount(side.label[1:], minlength=len(wanted)) for side in (found, there))
    return {v: Lesions(int(tp[v]), int(n_pred[v] - tp[v]), int(n_ref[v] - tp[v])) for v in labels}


def ratio(part: float, whole: float) -> float:
    """`part` of `whole`; NaN of nothing."""
    return part / whole if whole else float("nan")


@dataclass(frozen=True, eq=False)
class _Components:
    """Components of all labels of a map.

    Attributes:
        volume: number of the component of each voxel, 0 outside.
        label: (n + 1,) label of each component; index 0 is no component.
        voxels: (n + 1,) size of each.
    """

    volume: NDArray[Any]
    label: NDArray[np.intp]
    voxels: NDArray[np.int64]


def _components(lm: NDArray[Any], wanted: NDArray[np.bool_]) -> _Components:
    import cc3d

    # voxels of equal value are joined, so that one pass serves all labels
    kept = np.asfortranarray(np.where(wanted[lm], lm, lm.dtype.type(0)))
    volume, n = cc3d.connected_components(kept, connectivity=CONNECTIVITY, return_N=True)
    at = np.flatnonzero(volume.ravel(order="K"))
    numbers, label = volume.ravel(order="K")[at], np.zeros(n + 1, dtype=np.intp)
    label[numbers] = kept.ravel(order="K")[at]
    return _Components(volume, label, np.bincount(numbers, minlength=n + 1))


def _matched_labels(pred: _Components, ref: _Components, min_iou: float) -> NDArray[np.intp]:
    """Label of each pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    both = np.flatnonzero((pred.volume.ravel(order="K") > 0) & (ref.volume.ravel(order="K") > 0))
    ours, theirs = (side.volume.ravel(order="K")[both].astype(np.int64) for side in (pred, ref))
    same = pred.label[ours] == ref.label[theirs]
    pairs, shared = np.unique(ours[same] * len(ref.label) + theirs[same], return_counts=True)
    p, r = np.divmod(pairs, len(ref.label))
    close = shared >= min_iou * (pred.voxels[p] + ref.voxels[r] - shared)
    graph = coo_array((close[close], (p[close], r[close])), shape=(len(pred.label), len(ref.label))).tocsr()
    partner = maximum_bipartite_matching(graph, perm_type="column")
    matched: NDArray[np.intp] = pred.label[partner >= 0]
    return matched


def _check(pred: NDArray[Any], ref: NDArray[Any], min_iou: float) -> None:
    if pred.shape != ref.shape or pred.ndim != 3:
        raise ValueError(f"pred and ref: expected one shape (x, y, z), found {pred.shape} and {ref.shape}")
    for name, lm in (("pred", pred), ("ref", ref)):
        if not (np.issubdtype(lm.dtype, np.unsignedinteger) or lm.dtype == bool):
            raise ValueError(f"{name}: expected an unsigned label map, found {lm.dtype}")
    if not 0 <= min_iou <= 1:
        raise ValueError(f"min_iou: expected a share from 0 to 1, found {min_iou}")
