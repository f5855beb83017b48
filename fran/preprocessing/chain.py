"""The way of a case's geometry from its file to the stored volume, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fran.geometry import Grid, Reorientation
from fran.preprocessing.resampling import BLOCK_VOX, Scores, resample_labels, resample_probabilities_slabwise

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, eq=False)
class GeometryChain:
    """Everything needed to put a result on the stored grid back into the file's own grid.

    Attributes:
        native: grid of the raw file, its own axis order.
        reorientation: native axis order → RAS+.
        ras: the native voxels in RAS+ order.
        stored: grid of the preprocessed volume, axes parallel to ``ras``.
    """

    native: Grid
    reorientation: Reorientation
    ras: Grid
    stored: Grid

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, as kept in ``CaseMeta.geometry``."""
        names = ("native", "reorientation", "ras", "stored")
        return {name: getattr(self, name).to_dict() for name in names}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> GeometryChain:
        """Inverse of :meth:`to_dict`."""
        return cls(
            native=Grid.from_dict(stored["native"]),
            reorientation=Reorientation.from_dict(stored["reorientation"]),
            ras=Grid.from_dict(stored["ras"]),
            stored=Grid.from_dict(stored["stored"]),
        )

    def labels_to_ras(self, lm: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Label map on the stored grid → on the raw file's voxels in RAS+ order, what ``write_label_map`` takes."""
        return resample_labels(lm, self.stored, self.ras)

    def labels_to_native(self, lm: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Label map on the stored grid → on the raw file's voxels in the file's axis order."""
        return self.reorientation.invert(self.labels_to_ras(lm))

    def scores_to_ras(self, scores: Scores, slab: int = BLOCK_VOX) -> NDArray[np.generic]:
        """Scores (C, x, y, z) on the stored grid → channel indices on the raw file's voxels in RAS+ order.

        Memory does not grow with C times the raw size, see
        :func:`fran.preprocessing.resampling.resample_probabilities_slabwise`.
        """
        return resample_probabilities_slabwise(scores, self.stored, self.ras, slab)

    def scores_to_native(self, scores: Scores, slab: int = BLOCK_VOX) -> NDArray[np.generic]:
        """As :meth:`scores_to_ras`, in the file's axis order."""
        return self.reorientation.invert(self.scores_to_ras(scores, slab))
