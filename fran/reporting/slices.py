"""One slice of a volume with outlines of label masks, as SVG for a page: crisp at any size, a few kilobytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import GeometryError
from fran.reporting.overlay import VIEWS, View, central_slices, display_window

#: Shown around what is outlined.
MARGIN_MM = 25.0
#: A volume whose voxels are longer than this along one axis, relative to the shortest side, is cut across that axis.
THICK = 1.5
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class Slice:
    """A slice to put into a page.

    Attributes:
        view: such as ``"axial"``.
        index: of the slice in its RAS+ volume.
        svg: the picture; outlines are paths of the classes ``outline <name>``.
    """

    view: str
    index: int
    svg: str


def slice_svg(
    image: NDArray[Any] | None,
    masks: Mapping[str, NDArray[np.bool_]],
    spacing_mm: Sequence[float],
    label: str,
    window: tuple[float, float] | None = None,
) -> Slice:
    """Cut a volume through the middle of the first mask that is not empty.

    The cut is axial, or across the axis along which voxels are long; it shows that mask and a margin around it.

    Args:
        image: (x, y, z) RAS+; None: outlines alone.
        masks: by name, each (x, y, z) RAS+ on one grid.
        spacing_mm: (x, y, z) voxel size.
        label: what the picture shows, in words, for those who cannot see it.
        window: lowest and highest intensity shown; by default the 1st and 99th percentile around the masks.

    Raises:
        GeometryError: the arrays differ in shape.
    """
    shapes = {mask.shape for mask in masks.values()} | ({image.shape} if image is not None else set())
    if len(shapes) != 1:
        raise GeometryError(f"image and masks: expected one shape, found {sorted(shapes)}")
    main = next((mask for mask in masks.values() if mask.any()), next(iter(masks.values())))
    view = view_of(spacing_mm)
    index = central_slices(main)[view.axis]
    rows, columns = (_range(main, axis, spacing_mm[axis]) for axis in (view.up, view.right))
    # rows of `View.cut` go up and columns may be mirrored; an image's rows go down
    rows = slice(main.shape[view.up] - rows.stop, main.shape[view.up] - rows.start)
    columns = slice(main.shape[view.right] - columns.stop, main.shape[view.right] - columns.start)

    def cut(volume: NDArray[Any]) -> NDArray[Any]:
        return view.cut(volume, index)[::-1][rows, columns]

    picture = ""
    if image is not None:
        shown = window or display_window(image, np.logical_or.reduce(list(masks.values())), spacing_mm)
        picture = _image(cut(image), shown)
    paths = "".join(
        f'<path class="outline {name}" d="{outline(cut(mask))}"/>' for name, mask in masks.items() if mask.any()
    )
    n_rows, n_columns = cut(main).shape
    width, height = n_columns * spacing_mm[view.right], n_rows * spacing_mm[view.up]
    scale = f"scale({spacing_mm[view.right]:g} {spacing_mm[view.up]:g})"
    svg = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f'<g transform="{scale}">{picture}{paths}</g></svg>'
    )
    return Slice(view.title, index, svg)


def view_of(spacing_mm: Sequence[float]) -> View:
    """Across the axis along which voxels are long, where they are; else axial."""
    longest = int(np.argmax(spacing_mm))
    if spacing_mm[longest] < THICK * min(spacing_mm):
        return VIEWS[0]
    return next(view for view in VIEWS if view.axis == longest)


def outline(mask: NDArray[np.bool_]) -> str:
    """Border of a (rows, columns) mask along the edges of its pixels, as the path of an SVG in pixels.

    Example:
        >>> outline(np.array([[False, True, True]]))
        'M1 0H3V1H1Z'
    """
    return "".join(_path(loop) for loop in _loops(mask))


def _loops(mask: NDArray[np.bool_]) -> Iterator[list[tuple[int, int]]]:
    """Closed loops of corners (x, y), the mask on the right hand of each step."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # an edge is left of, above, right of or below a pixel that has no neighbour there
    sides = (
        (inside & ~padded[:-2, 1:-1], (0, 0), (1, 0)),
        (inside & ~padded[1:-1, 2:], (1, 0), (1, 1)),
        (inside & ~padded[2:, 1:-1], (1, 1), (0, 1)),
        (inside & ~padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for edge, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(edge).tolist():
            steps.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    for start in sorted(steps, key=lambda corner: corner[::-1]):
        while steps[start]:
            loop = [start]
            while (at := steps[loop[-1]].pop()) != start:
                loop.append(at)
            yield loop


def _path(loop: Sequence[tuple[int, int]]) -> str:
    n = len(loop)
    corners = [loop[0], *(loop[i] for i in range(1, n) if _turns(loop[i - 1], loop[i], loop[(i + 1) % n]))]
    parts = [f"M{corners[0][0]} {corners[0][1]}"]
    for (x0, _), (x, y) in pairwise(corners):
        parts.append(f"V{y}" if x == x0 else f"H{x}")
    return "".join([*parts, "Z"])


def _turns(before: tuple[int, int], at: tuple[int, int], after: tuple[int, int]) -> bool:
    return (at[0] == before[0]) != (after[0] == at[0])


def _range(mask: NDArray[np.bool_], axis: int, spacing_mm: float) -> slice:
    """Where the mask is along an axis, with the margin; everything where it is empty."""
    filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    if not len(filled):
        return slice(0, mask.shape[axis])
    margin = math.ceil(MARGIN_MM / spacing_mm)
    return slice(max(0, int(filled[0]) - margin), min(mask.shape[axis], int(filled[-1]) + margin + 1))


def _image(plane: NDArray[Any], window: tuple[float, float]) -> str:
    """A JPEG inside the SVG."""
    from matplotlib.image import imsave

    low, high = window
    stream = io.BytesIO()
    how: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high, "pil_kwargs": {"quality": _JPEG_QUALITY}}
    imsave(stream, plane, format="jpg", **how)
    rows, columns = plane.shape
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<image width="{columns}" height="{rows}" preserveAspectRatio="none" href="data:image/jpeg;base64,{data}"/>'
