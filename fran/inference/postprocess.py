"""Post-processing of a label map by a rule for each label: islands removed, holes filled.

Components are of voxels that share a face, an edge or a corner (26 neighbours); holes are of background that is closed
in through faces (6 neighbours). Each label is looked at inside its own bounding box, one after the other, so the
memory beside the label map is that of the largest box: a mask of 1 byte and component numbers of 2 or 4 bytes a voxel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.inference.case import OnBatch, Prediction, Segmenter
from fran.inference.member import Member
from fran.io.volume import Volume
from fran.preprocessing.foreground import Box, label_boxes
from fran.projects.mask_labels import LabelRule

#: A volume that misses a threshold by less than rounding does has reached it.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Change:
    """What post-processing did to one label of one case.

    Attributes:
        components: before.
        removed: components.
        removed_vox: their voxels.
        filled_vox: voxels of background that became the label.
    """

    components: int = 0
    removed: int = 0
    removed_vox: int = 0
    filled_vox: int = 0

    def to_dict(self, voxel_mm3: float) -> dict[str, float]:
        """For the json beside the label map: what was done, in voxels and mm³."""
        plain: dict[str, float] = {}
        if self.components:
            plain |= {"components": self.components, "removed": self.removed, "removed_vox": self.removed_vox}
            plain["removed_mm3"] = round(self.removed_vox * voxel_mm3, 3)
        if self.filled_vox:
            plain |= {"filled_vox": self.filled_vox, "filled_mm3": round(self.filled_vox * voxel_mm3, 3)}
        return plain


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of one label inside a box.

    Attributes:
        numbers: component of each voxel of the box, from 1; 0 is not the label.
        sizes: voxels of each component, that of component 1 first.
    """

    numbers: NDArray[Any]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, part: NDArray[Any], value: int) -> Components:
        """Those of a label value in a box of a label map."""
        import cc3d

        label = part == value
        numbers, n = cc3d.connected_components(label, connectivity=26, return_N=True, binary_image=True)
        sizes = np.zeros(n + 1, np.int64)
        for of_plane, inside in zip(*_planes(numbers, label), strict=True):
            sizes += np.bincount(of_plane[inside], minlength=n + 1)
        return cls(numbers, sizes[1:])

    def centres(self) -> NDArray[np.float64]:
        """(n, 3) mean voxel of each component in the box."""
        import cc3d

        found = cc3d.statistics(self.numbers, no_slice_conversion=True)["centroids"]
        return np.asarray(found, np.float64)[1 : len(self.sizes) + 1]


def kept_components(
    sizes: NDArray[np.int64], rule: LabelRule, voxel_mm3: float, centres: Callable[[], NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Which components of a label a rule keeps: no dust, and of the rest the largest.

    Args:
        sizes: (n,) voxels.
        rule: of the label.
        voxel_mm3: volume of a voxel.
        centres: (n, 3) of each; asked for where sizes alone do not decide, then those with the smaller centre stay.

    Example:
        >>> kept_components(np.array([9, 2, 5]), LabelRule(dusting_threshold=3), 1.0, lambda: np.zeros((3, 3))).tolist()
        [True, False, True]
    """
    kept = (sizes >= rule.dusting_threshold) & (sizes * voxel_mm3 >= rule.dusting_threshold_mm3 * (1 - _ROUNDING))
    k = rule.k_largest
    if k is not None and k < len(sizes):
        in_order = np.argsort(-sizes, kind="stable")
        if sizes[in_order[k - 1]] == sizes[in_order[k]]:
            in_order = np.lexsort((*centres().T[::-1], -sizes))
        kept[in_order[k:]] = False
    return kept


def apply_rules(lm: NDArray[Any], rules: Mapping[int, LabelRule], voxel_mm3: float) -> dict[int, Change]:
    """Change a label map in place: first every label loses its islands, then holes are filled, inner labels first.

    What is removed becomes background; a label that encloses it takes it over where it fills its holes. Other labels
    are never overwritten.

    Args:
        lm: (x, y, z) unsigned label map.
        rules: by label value; labels without a rule stay as they are.
        voxel_mm3: volume of a voxel.

    Returns:
        what happened to each label that has a rule and occurs, by value.
    """
    wanted = {value: rule for value, rule in rules.items() if rule.changes}
    if not wanted:
        return {}
    _, boxes = label_boxes(lm)
    changes: dict[int, Change] = {}
    for value, rule in sorted(wanted.items()):
        if value in boxes:
            changes[value] = Change()
            if rule.removes:
                changes[value], boxes[value] = _remove(lm, boxes[value], value, rule, voxel_mm3)
    holed = [value for value in changes if wanted[value].fill_holes]
    for value in sorted(holed, key=lambda v: (_volume(boxes[v]), v)):
        changes[value] = replace(changes[value], filled_vox=_fill(_part(lm, boxes[value]), value))
    return changes


def _remove(lm: NDArray[Any], box: Box, value: int, rule: LabelRule, voxel_mm3: float) -> tuple[Change, Box]:
    """What was removed, and the box of what is left."""
    part = _part(lm, box)
    found = Components.of(part, value)
    kept = kept_components(found.sizes, rule, voxel_mm3, found.centres)
    change = Change(len(kept), int(np.count_nonzero(~kept)), int(found.sizes[~kept].sum()))
    if not change.removed:
        return change, box
    doomed = np.concatenate([[False], ~kept])
    for planes, numbers in zip(*_planes(part, found.numbers), strict=True):
        planes[doomed[numbers]] = 0
    return change, _box_inside(box, part == value) if rule.fill_holes and kept.any() else box


def _box_inside(box: Box, label: NDArray[np.bool_]) -> Box:
    """The box of a label that has become smaller."""
    sides = []
    for axis, start in enumerate(box[0]):
        along = np.flatnonzero(label.any(axis=tuple(a for a in range(3) if a != axis)))
        sides.append((start + int(along[0]), start + int(along[-1]) + 1))
    (x, i), (y, j), (z, k) = sides
    return (x, y, z), (i, j, k)


def _fill(part: NDArray[Any], value: int) -> int:
    """Fill the holes of a label in its own box; the voxels filled."""
    import cc3d

    numbers, n = cc3d.connected_components(part != value, connectivity=6, return_N=True, binary_image=True)
    hole = np.ones(n + 1, bool)
    hole[0] = False
    for axis in range(3):
        for face in (0, -1):
            hole[numbers.take(face, axis)] = False  # what reaches a face of the label's box is outside
    if not hole.any():
        return 0
    filled = 0
    for planes, of_plane in zip(*_planes(part, numbers), strict=True):
        inside = hole[of_plane] & (planes == 0)
        planes[inside] = value
        filled += int(np.count_nonzero(inside))
    return filled


def _planes(part: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both with the axis first along which planes lie farthest apart in memory: a look-up takes 8 bytes a voxel."""
    axis = int(np.argmax(np.abs(part.strides)))
    return np.moveaxis(part, axis, 0), np.moveaxis(other, axis, 0)


def _part(lm: NDArray[Any], box: Box) -> NDArray[Any]:
    return lm[tuple(slice(a, b) for a, b in zip(*box, strict=True))]


def _volume(box: Box) -> int:
    return math.prod(b - a for a, b in zip(*box, strict=True))


class PostProcessed:
    """A `Segmenter` whose label maps are post-processed.

    Args:
        segmenter: that predicts.
        rules: by label value.
    """

    def __init__(self, segmenter: Segmenter, rules: Mapping[int, LabelRule]) -> None:
        self.segmenter, self.rules = segmenter, dict(rules)
        self.labels, self.device, self.modality = segmenter.labels, segmenter.device, segmenter.modality

    @property
    def members(self) -> tuple[Member, ...]:
        """Networks of the segmenter."""
        return self.segmenter.members

    def prepare(self, volume: Volume) -> tuple[Any, float]:
        """What the network needs of a volume, and the volume of a voxel in mm³."""
        return self.segmenter.prepare(volume), math.prod(volume.grid.spacing_mm)

    def run(
        self, prepared: tuple[Any, float], on_batch: OnBatch | None = None, probabilities: Path | None = None
    ) -> Prediction:
        """The label map of a prepared case; probabilities stay those of the network."""
        case, voxel_mm3 = prepared
        found = self.segmenter.run(case, on_batch, probabilities)
        started = perf_counter()
        changes = apply_rules(found.array, self.rules, voxel_mm3)
        seconds = {**found.seconds, "postprocess": perf_counter() - started}
        facts = {**found.facts, "postprocess": {str(v): c.to_dict(voxel_mm3) for v, c in changes.items()}}
        return Prediction(found.array, seconds, facts)

    def describe(self) -> dict[str, Any]:
        """What decides the result besides the image, as plain data."""
        return {**self.segmenter.describe(), "postprocess": describe_rules(self.rules)}


def describe_rules(rules: Mapping[int, LabelRule]) -> dict[str, dict[str, Any]]:
    """Rules as plain data, by label value as text."""
    return {str(value): rule.to_dict() for value, rule in sorted(rules.items())}
