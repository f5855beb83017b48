"""One picture of a prediction beside its reference: axial, coronal and sagittal, as a radiologist looks at them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import GeometryError
from fran.evaluation.overlap import labels_present, overlaps
from fran.io.files import atomic_path
from fran.labels.colours import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_INCH = 4.6
MARGIN_MM = 30.0
MAX_LEGEND = 12


@dataclass(frozen=True)
class View:
    """How one plane of a RAS+ volume is shown: array axes to the right and up, and whether the right one is mirrored.

    The patient's right is on the left of axial and coronal pictures, the front on the left of sagittal ones.
    """

    title: str
    axis: int
    right: int
    up: int
    letters: tuple[str, str, str, str]  # left, right, bottom, top

    def cut(self, volume: NDArray[Any], index: int) -> NDArray[Any]:
        """Slice as (rows from bottom to top, columns from left to right)."""
        plane: NDArray[Any] = np.take(volume, index, axis=self.axis)
        return plane[::-1].T


VIEWS = (
    View("axial", 2, 0, 1, ("R", "L", "P", "A")),
    View("coronal", 1, 0, 2, ("R", "L", "I", "S")),
    View("sagittal", 0, 1, 2, ("A", "P", "I", "S")),
)


def overlay_png(
    image: NDArray[Any],
    pred: NDArray[Any],
    ref: NDArray[Any],
    names: Mapping[int, str],
    spacing_mm: Sequence[float],
    path: Path | str,
    *,
    case_id: str = "",
    window: tuple[float, float] | None = None,
    at_errors: bool = False,
) -> Path:
    """Draw three slices through the foreground: the prediction filled, the reference as an outline.

    Args:
        image: (x, y, z) RAS+, any intensity unit.
        pred: (x, y, z) unsigned label map on the same grid.
        ref: (x, y, z) unsigned label map on the same grid.
        names: label value to name.
        spacing_mm: (x, y, z) voxel size, for the proportions.
        path: PNG to write.
        case_id: named in the title.
        window: lowest and highest intensity shown; by default the 1st and 99th percentile around the foreground.
        at_errors: slices where prediction and reference differ most, instead of through the middle of the foreground.

    Raises:
        GeometryError: the three arrays differ in shape.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not image.shape == pred.shape == ref.shape:
        raise GeometryError(f"image, pred, ref: expected one shape, found {image.shape}, {pred.shape}, {ref.shape}")
    labels = sorted(labels_present(pred) | labels_present(ref))
    foreground = (pred > 0) | (ref > 0)
    centre = most_wrong_slices(pred, ref) if at_errors else central_slices(foreground)
    extent_mm = [n * s for n, s in zip(image.shape, spacing_mm, strict=True)]
    figure = Figure(figsize=_figure_size(extent_mm), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(VIEWS), width_ratios=[extent_mm[v.right] for v in VIEWS], squeeze=False)[0]
    window = window or display_window(image, foreground, spacing_mm)
    for ax, view in zip(axes, VIEWS, strict=True):
        index = centre[view.axis]
        draw_image(ax, view, view.cut(image, index), spacing_mm, window)
        _draw_labels(ax, view, view.cut(pred, index), view.cut(ref, index), spacing_mm, labels)
        ax.set_title(f"{view.title}, slice {index}", fontsize=9)
    figure.suptitle(title_text(pred, ref, names, labels, case_id), fontsize=11)
    _add_legend(figure, names, labels)
    path = Path(path)
    with atomic_path(path) as temporary:
        # without metadata the same picture is the same file
        figure.savefig(temporary, dpi=110, metadata={"Software": None}, format="png")
    return path


def central_slices(foreground: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Index per axis of the slice through the centre of mass, or of the fullest slice where that one is nearly empty.

    The centre of two kidneys lies in the spine; a slice there would show neither.
    """
    if not foreground.any():
        x, y, z = (n // 2 for n in foreground.shape)
        return x, y, z
    chosen = []
    for axis in range(3):
        areas = foreground.sum(axis=tuple(other for other in range(3) if other != axis))
        central = round(float((areas * np.arange(len(areas))).sum() / areas.sum()))
        chosen.append(central if areas[central] >= areas.max() / 2 else int(areas.argmax()))
    x, y, z = chosen
    return x, y, z


def most_wrong_slices(pred: NDArray[Any], ref: NDArray[Any]) -> tuple[int, int, int]:
    """Index per axis of the slice with most differing voxels; the central slices where there are none."""
    wrong = pred != ref
    if not wrong.any():
        return central_slices((pred > 0) | (ref > 0))
    x, y, z = (int(wrong.sum(axis=tuple(other for other in range(3) if other != axis)).argmax()) for axis in range(3))
    return x, y, z


def display_window(
    image: NDArray[Any], foreground: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """1st and 99th percentile around the foreground, so that air and bone do not use up the greys."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(foreground.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = math.ceil(MARGIN_MM / spacing_mm[axis])
        box.append(slice(max(0, filled[0] - margin), filled[-1] + margin + 1) if len(filled) else slice(None))
    near = image[tuple(box)]
    inside = near[near > near.min()]
    low, high = np.percentile(inside if inside.size else near, (1, 99))
    return float(low), float(max(high, low + 1e-6))


def title_text(
    pred: NDArray[Any], ref: NDArray[Any], names: Mapping[int, str], labels: Sequence[int], case_id: str
) -> str:
    """Case and Dice of each label, as the picture's title."""
    found = overlaps(pred, ref, labels)
    dice = [f"{names.get(v, f'label_{v}')} {o.dice:.2f}" for v, o in found.items()]
    more = f" … ({len(dice)} labels)" if len(dice) > MAX_LEGEND // 2 else ""
    scores = f"Dice {', '.join(dice[: MAX_LEGEND // 2])}{more}" if dice else "no foreground"
    return f"{case_id}    {scores}" if case_id else scores


def _figure_size(extent_mm: Sequence[float]) -> tuple[float, float]:
    tallest = max(extent_mm[view.up] for view in VIEWS)
    width = sum(extent_mm[view.right] for view in VIEWS) / tallest * (HEIGHT_INCH - 1.2)
    return min(16.0, max(7.0, width + 0.8)), HEIGHT_INCH


def draw_image(
    ax: Axes,
    view: View,
    plane: NDArray[Any],
    spacing_mm: Sequence[float],
    window: tuple[float, float],
    *,
    letters: bool = True,
) -> None:
    """Draw a slice as `View.cut` gives it, in mm, with the body's directions as letters at its edges if wished."""
    width, height = plane.shape[1] * spacing_mm[view.right], plane.shape[0] * spacing_mm[view.up]
    low, high = window
    ax.imshow(
        plane, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(0, width, 0, height), interpolation="bilinear"
    )
    ax.set_xticks([])
    ax.set_yticks([])
    if not letters:
        return
    left, right, bottom, top = view.letters
    style: dict[str, Any] = {"color": "white", "fontsize": 9, "fontweight": "bold", "transform": ax.transAxes}
    ax.text(0.02, 0.5, left, ha="left", va="center", **style)
    ax.text(0.98, 0.5, right, ha="right", va="center", **style)
    ax.text(0.5, 0.02, bottom, ha="center", va="bottom", **style)
    ax.text(0.5, 0.98, top, ha="center", va="top", **style)


def _draw_labels(
    ax: Axes, view: View, pred: NDArray[Any], ref: NDArray[Any], spacing_mm: Sequence[float], labels: Sequence[int]
) -> None:
    # contours are drawn through voxel centres; a border of zeros closes those that touch the edge of the volume
    xs = (np.arange(-1, pred.shape[1] + 1) + 0.5) * spacing_mm[view.right]
    ys = (np.arange(-1, pred.shape[0] + 1) + 0.5) * spacing_mm[view.up]
    limits = ax.axis()
    for number, value in enumerate(labels):
        colour = COLOURS[number % len(COLOURS)]
        filled, outline = (np.pad(plane == value, 1).astype(float) for plane in (pred, ref))
        if filled.any():
            ax.contourf(xs, ys, filled, levels=[0.5, 1.5], colors=[colour], alpha=0.45)
        if outline.any():
            ax.contour(xs, ys, outline, levels=[0.5], colors=[colour], linewidths=1.4)
    ax.axis(limits)


def _add_legend(figure: Any, names: Mapping[int, str], labels: Sequence[int]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=COLOURS[number % len(COLOURS)], alpha=0.6, label=names.get(value, f"label_{value}"))
        for number, value in enumerate(labels[:MAX_LEGEND])
    ]
    handles.append(Patch(facecolor="0.6", label="filled: prediction"))
    handles.append(Line2D([], [], color="0.3", linewidth=1.4, label="line: reference"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(handles)), fontsize=8, frameon=False)
