"""The way of a case's geometry from its file to the stored volume, and back.

A stored volume is reached from the raw image's RAS+ grid by named steps: ``resample`` to a spacing, ``crop`` to a box
that may leave the volume (what lies outside is padding), ``resize`` to a shape. None of them turns the axes, so the
stored grid's axes stay parallel to the RAS+ grid's and one separable resampling leads back, however many steps there
were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fran.geometry import Grid, Reorientation, axis_map, resampled_grid, resized_grid, sub_grid
from fran.preprocessing.resampling import resample_labels
from fran.preprocessing.scores import Scores, SlabArgmax

ScalarT = TypeVar("ScalarT", bound=np.generic)
Vox = tuple[int, int, int]
Box = tuple[Vox, Vox]

_EPS = 1e-6  # of a voxel: what rounding may move a voxel's centre across an edge


@dataclass(frozen=True, eq=False)
class GeometryChain:
    """Everything needed to put a result on the stored grid back into the file's own grid.

    Attributes:
        native: grid of the raw file, its own axis order.
        reorientation: native axis order → RAS+.
        ras: the native voxels in RAS+ order.
        stored: grid of the preprocessed volume, axes parallel to ``ras``.
        inner: box of ``stored`` that is image and not padding, (first voxel, one past the last); None is all of it.
        covers: box of ``ras`` that the stored volume speaks for; None is all of it. Outside, a result is background.
        steps: what was done between ``ras`` and ``stored``, for people and for other programs.
    """

    native: Grid
    reorientation: Reorientation
    ras: Grid
    stored: Grid
    inner: Box | None = None
    covers: Box | None = None
    steps: tuple[Mapping[str, Any], ...] = ()

    def resampled(self, spacing_mm: Sequence[float]) -> GeometryChain:
        """With ``stored`` brought to a spacing; it covers what it covered."""
        assert self.inner is None and self.covers is None, "a spacing is set before anything is cut"
        stored = resampled_grid(self.stored, spacing_mm)
        return self._then(stored, "resample", spacing_mm=list(stored.spacing_mm))

    def cropped(self, low: Vox, high: Vox) -> GeometryChain:
        """With ``stored`` cut to a box, (first voxel, one past the last); parts outside the volume are padding."""
        before = self.inner or ((0, 0, 0), self.stored.shape)
        kept = [(max(a, p), max(max(a, p), min(b, q))) for a, b, p, q in zip(low, high, *before, strict=True)]
        covers = self.covers or ((0, 0, 0), self.ras.shape)
        sides = [
            _covered(*axis)
            for axis in zip(axis_map(self.stored, self.ras), low, high, before[0], before[1], *covers, strict=True)
        ]
        inner = _box([(a - o, b - o) for (a, b), o in zip(kept, low, strict=True)])
        padding = [[p - a, b - q] for (p, q), a, b in zip(kept, low, high, strict=True)]
        then = self._then(sub_grid(self.stored, low, high), "crop", box=[list(c) for c in _box(kept)], padding=padding)
        return replace(then, inner=inner, covers=_box(sides))

    def resized(self, shape: Vox) -> GeometryChain:
        """With ``stored`` brought to a shape over the same field of view."""
        inner = self.inner
        if inner is not None:
            scaled = zip(*inner, shape, self.stored.shape, strict=True)
            inner = _box([(a * m // n, -(-b * m // n)) for a, b, m, n in scaled])
        return replace(self._then(resized_grid(self.stored, shape), "resize", shape=list(shape)), inner=inner)

    def _then(self, stored: Grid, name: str, **parameters: Any) -> GeometryChain:
        return replace(self, stored=stored, steps=(*self.steps, {"name": name, **parameters}))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, as kept in ``CaseMeta.geometry``."""
        names = ("native", "reorientation", "ras", "stored")
        boxes = {name: [list(c) for c in box] for name in ("inner", "covers") if (box := getattr(self, name))}
        return (
            {name: getattr(self, name).to_dict() for name in names} | boxes | {"steps": [dict(s) for s in self.steps]}
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> GeometryChain:
        """Inverse of :meth:`to_dict`."""
        return cls(
            native=Grid.from_dict(stored["native"]),
            reorientation=Reorientation.from_dict(stored["reorientation"]),
            ras=Grid.from_dict(stored["ras"]),
            stored=Grid.from_dict(stored["stored"]),
            inner=_read_box(stored.get("inner")),
            covers=_read_box(stored.get("covers")),
            steps=tuple(stored.get("steps", ())),
        )

    def labels_to_ras(self, lm: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Label map on the stored grid → on the raw file's voxels in RAS+ order, what ``write_label_map`` takes.

        Raw voxels outside the stored volume are background, and padding is dropped.
        """
        if self.inner is None or self.covers is None:
            return resample_labels(lm, self.stored, self.ras)
        out = np.zeros(self.ras.shape, lm.dtype)
        if not self._empty:
            part = resample_labels(lm[_slices(self.inner)], *self._sub_grids(self.inner, self.covers))
            out[_slices(self.covers)] = part
        return out

    def labels_to_native(self, lm: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Label map on the stored grid → on the raw file's voxels in the file's axis order."""
        return self.reorientation.invert(self.labels_to_ras(lm))

    def slab_argmax(self, axis: int = 0) -> SlabArgmax:
        """What turns scores on the stored grid, whose planes along ``axis`` become final one after the other, into
        channel indices on the raw file's voxels in RAS+ order.

        Raw voxels outside the stored volume are channel 0, and padding is dropped.
        """
        return SlabArgmax(self.stored, self.ras, axis, self.inner, self.covers)

    def scores_to_ras(self, scores: Scores) -> NDArray[np.generic]:
        """Scores (C, x, y, z) on the stored grid → channel indices on the raw file's voxels in RAS+ order.

        Memory does not grow with C times the raw size, see :class:`fran.preprocessing.scores.SlabArgmax`.
        """
        argmax = self.slab_argmax()
        out = argmax.empty(scores.shape[0])
        argmax.write(scores, out, 0, argmax.n_slabs)
        return out

    def scores_to_native(self, scores: Scores) -> NDArray[np.generic]:
        """As :meth:`scores_to_ras`, in the file's axis order."""
        return self.reorientation.invert(self.scores_to_ras(scores))

    @property
    def _empty(self) -> bool:
        """Whether no raw voxel's centre lies in the stored volume."""
        return any(a >= b for box in (self.inner, self.covers) if box for a, b in zip(*box, strict=True))

    def _sub_grids(self, inner: Box, covers: Box) -> tuple[Grid, Grid]:
        return sub_grid(self.stored, *inner), sub_grid(self.ras, *covers)


def _covered(
    to_stored: tuple[float, float], low: int, high: int, first: int, last: int, covers_low: int, covers_high: int
) -> tuple[int, int]:
    """Raw voxels on one axis whose centres lie in the crop ``low:high`` of the stored voxels ``first:last``.

    Where the crop reaches the end of the volume it speaks for everything up to the end of the raw image too: the two
    grids may differ there by part of a voxel. Crops that touch share no raw voxel and leave none out.
    """
    scale, offset = to_stored
    edges = [math.ceil((edge - 0.5 - offset) / scale - _EPS) for edge in (low, high)]
    begin = covers_low if low <= first else max(covers_low, edges[0])
    end = covers_high if high >= last else min(covers_high, edges[1])
    return begin, max(begin, end)


def _box(sides: list[tuple[int, int]]) -> Box:
    (x0, x1), (y0, y1), (z0, z1) = sides
    return (x0, y0, z0), (x1, y1, z1)


def _read_box(stored: Any) -> Box | None:
    return None if stored is None else _box([(int(a), int(b)) for a, b in zip(*stored, strict=True)])


def _slices(box: Box) -> tuple[slice, slice, slice]:
    x, y, z = (slice(a, b) for a, b in zip(*box, strict=True))
    return x, y, z
