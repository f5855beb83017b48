"""A dataset at a glance: one slice of every case with its labels as contours, and how large each label is."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import CaseProblem, DataError, FranError
from fran.io.files import atomic_path
from fran.io.volume import read_volume
from fran.labels.colours import COLOURS
from fran.reporting.overlay import VIEWS, central_slices, display_window, draw_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CASES_PER_PAGE = 40
TILE_INCH = 2.4
MAX_LEGEND = 16
_AXIAL = VIEWS[0]


@dataclass(frozen=True)
class SheetCase:
    """A raw case to draw.

    Attributes:
        case_id: its id.
        datasource: its name.
        image, lm: raw files.
    """

    case_id: str
    datasource: str
    image: Path
    lm: Path


@dataclass(frozen=True, eq=False)
class Tile:
    """What is drawn of a case.

    Attributes:
        case: the case.
        image, lm: axial slice, (rows from back to front, columns from the patient's right).
        spacing_mm: (x, y, z).
        index: of the slice.
        window: lowest and highest intensity shown.
        voxels: of each label in the whole volume.
    """

    case: SheetCase
    image: NDArray[Any]
    lm: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    index: int
    window: tuple[float, float]
    voxels: Mapping[int, int]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return math.prod(self.spacing_mm)


def tile_of(case: SheetCase) -> Tile:
    """Read a case and keep the axial slice that shows its labels best; the middle one where it has none.

    Raises:
        DataError: a file cannot be read, or the label map is not on the image's grid.
    """
    image, lm = read_volume(case.image), read_volume(case.lm, role="lm")
    if image.array.shape != lm.array.shape:
        raise DataError(f"{case.lm}: expected the image's shape {image.array.shape}, found {lm.array.shape}")
    foreground = lm.array > 0
    index = central_slices(foreground)[_AXIAL.axis] if foreground.any() else image.array.shape[_AXIAL.axis] // 2
    values, counts = np.unique(lm.array, return_counts=True)
    spacing_mm = image.grid.spacing_mm
    return Tile(
        case,
        np.array(_AXIAL.cut(image.array, index)),
        np.array(_AXIAL.cut(lm.array, index)),
        spacing_mm,
        index,
        display_window(image.array, foreground, spacing_mm),
        {int(v): int(n) for v, n in zip(values, counts, strict=True) if v},
    )


def write_sheets(
    cases: Sequence[SheetCase],
    names: Mapping[int, str],
    folder: Path,
    columns: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Path], list[CaseProblem]]:
    """Draw contact sheets of all cases and write the sizes of their labels.

    Args:
        cases: in the order in which they are drawn.
        names: label value to name.
        folder: gets ``sheet_01.png``, ... of 40 cases each, and ``label_sizes.csv``.
        columns: cases beside each other.
        progress: called with (done, total).

    Returns:
        the files, and the cases that could not be read.
    """
    files: list[Path] = []
    problems: list[CaseProblem] = []
    tiles: list[Tile] = []
    rows: list[list[object]] = []
    if progress is not None:
        progress(0, len(cases))
    for number, case in enumerate(cases, start=1):
        try:
            tile = tile_of(case)
            tiles.append(tile)
            rows += _size_rows(tile, names)
        except FranError as error:
            problems.append(_unreadable(case, error))
        if tiles and (len(tiles) == CASES_PER_PAGE or number == len(cases)):
            files.append(draw_sheet(tiles, names, folder / f"sheet_{len(files) + 1:02d}.png", columns))
            tiles = []
        if progress is not None:
            progress(number, len(cases))
    files.append(_write_sizes(rows, folder / "label_sizes.csv"))
    return files, problems


def _unreadable(case: SheetCase, error: FranError) -> CaseProblem:
    return CaseProblem(
        case.case_id, str(case.image), "not drawn", "a readable pair", str(error), "see fran check for this datasource"
    )


def draw_sheet(tiles: Sequence[Tile], names: Mapping[int, str], path: Path, columns: int = 4) -> Path:
    """One page: a slice a case in its true proportions, each label as a contour in its colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(1, min(columns, len(tiles)))
    rows = -(-len(tiles) // columns)
    labels = sorted({value for tile in tiles for value in tile.voxels})
    colours = {value: COLOURS[number % len(COLOURS)] for number, value in enumerate(labels)}
    figure = Figure(figsize=(columns * TILE_INCH, rows * TILE_INCH + 0.5), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, tile in zip(axes, tiles, strict=False):
        _draw_tile(ax, tile, colours)
    add_legend(figure, {value: names.get(value, f"label_{value}") for value in labels}, colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": None}, format="png")
    return path


def _draw_tile(ax: Axes, tile: Tile, colours: Mapping[int, str]) -> None:
    draw_image(ax, _AXIAL, tile.image, tile.spacing_mm, tile.window)
    outline_labels(ax, tile.lm, tile.spacing_mm, colours)
    said = f"{tile.case.case_id}\nslice {tile.index}" + ("" if tile.voxels else ", no label")
    ax.set_title(said, fontsize=7, color="white")


def outline_labels(ax: Axes, lm: NDArray[Any], spacing_mm: Sequence[float], colours: Mapping[int, str]) -> None:
    """Contours of the labels of an axial slice, as `View.cut` gives it."""
    xs = (np.arange(-1, lm.shape[1] + 1) + 0.5) * spacing_mm[_AXIAL.right]
    ys = (np.arange(-1, lm.shape[0] + 1) + 0.5) * spacing_mm[_AXIAL.up]
    limits = ax.axis()
    for value in np.unique(lm)[np.unique(lm) > 0].tolist():
        # a border of zeros closes contours that touch the edge
        ax.contour(xs, ys, np.pad(lm == value, 1).astype(float), levels=[0.5], colors=[colours[value]])
    ax.axis(limits)


def add_legend(figure: Any, names: Mapping[int, str], colours: Mapping[int, str]) -> None:
    """Names of the labels in their colours below a page."""
    from matplotlib.lines import Line2D

    shown = list(names.items())[:MAX_LEGEND]
    handles = [Line2D([], [], color=colours[value], label=f"{value} {name}") for value, name in shown]
    if len(names) > MAX_LEGEND:
        handles.append(Line2D([], [], alpha=0, label=f"and {len(names) - MAX_LEGEND} more"))
    if handles:
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
        for text in legend.get_texts():
            text.set_color("white")


def _size_rows(tile: Tile, names: Mapping[int, str]) -> list[list[object]]:
    case = tile.case
    return [
        [
            case.case_id,
            case.datasource,
            value,
            names.get(value, f"label_{value}"),
            count,
            f"{count * tile.voxel_mm3:.1f}",
        ]
        for value, count in sorted(tile.voxels.items())
    ]


def _write_sizes(rows: Iterable[Sequence[object]], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["case_id", "datasource", "label", "name", "voxels", "mm3"])
        writer.writerows(rows)
    return path
