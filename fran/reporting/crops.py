"""Crops as a network sees them: one slice of each, with its labels as contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.io.files import atomic_path
from fran.labels.colours import COLOURS
from fran.reporting.overlay import VIEWS, central_slices, draw_image
from fran.reporting.sheet import TILE_INCH, add_legend, outline_labels

_AXIAL = VIEWS[0]


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop to draw.

    Attributes:
        title: above the picture.
        image: (x, y, z) normalised.
        lm: (x, y, z) channel indices.
        index: of the axial slice; None: the one that shows the labels best.
    """

    title: str
    image: NDArray[np.float32]
    lm: NDArray[Any]
    index: int | None = None


def draw_crops(
    crops: Sequence[Crop], names: Sequence[str], spacing_mm: Sequence[float], path: Path, columns: int = 6
) -> Path:
    """One page of axial slices in one window of greys, so that changed brightness can be seen.

    Args:
        crops: in order, row by row.
        names: of the channels, background first.
        spacing_mm: (x, y, z).
        path: PNG to write.
        columns: crops beside each other.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(1, min(columns, len(crops)))
    rows = -(-len(crops) // columns)
    colours = {channel: COLOURS[(channel - 1) % len(COLOURS)] for channel in range(1, len(names))}
    figure = Figure(figsize=(columns * TILE_INCH, rows * TILE_INCH + 0.5), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    low, high = np.percentile(np.concatenate([crop.image.ravel()[::7] for crop in crops]), (1, 99))
    for ax, crop in zip(axes, crops, strict=False):
        index = central_slices(crop.lm > 0)[_AXIAL.axis] if crop.index is None else crop.index
        window = float(low), float(max(high, low + 1e-3))
        # a mirrored crop has its sides exchanged, so letters would mislead
        draw_image(ax, _AXIAL, _AXIAL.cut(crop.image, index), spacing_mm, window, letters=False)
        outline_labels(ax, _AXIAL.cut(crop.lm, index), spacing_mm, colours)
        ax.set_title(crop.title, fontsize=7, color="white")
    shown: Mapping[int, str] = dict(list(enumerate(names))[1:])
    add_legend(figure, shown, colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None}, format="png")
    return path
