"""CT-like phantoms that fran makes itself: to try every step without data, and to test with.

Each case is a body in air with fat, muscle, a liver, a bright spine, two kidneys of different size and place
(label 1) and one or two tumours on a kidney's edge (label 2). Vessels and spine lie in the kidneys' HU range, so no
threshold finds them. Shapes, spacings, axis orders and obliqueness differ from case to case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from fran.datasources.datasource import LABELS_FILE
from fran.datasources.pairing import IMAGES, LMS
from fran.errors import ConfigError
from fran.geometry import Grid, reorientation_to_ras
from fran.io import nifti
from fran.io.files import atomic_path, write_json
from fran.io.volume import write_label_map

LABELS = {1: "kidney", 2: "tumour"}

_ORIENTATIONS = ("LPS", "RAS", "LAS", "PIR", "RSA", "IPL")
_AIR_HU = -1000.0
_OBLIQUE_DEGREES = 6.0


@dataclass(frozen=True, eq=False)
class _Scene:
    """What one phantom is drawn with: positions in mm (x, y, z) from the body's centre, RAS."""

    points_mm: NDArray[np.float64]
    rng: np.random.Generator
    image_hu: NDArray[np.float64]

    def ellipsoid(self, centre_mm: ArrayLike, radii_mm: ArrayLike, tilt: float = 0.0) -> NDArray[np.float64]:
        """Signed measure of an ellipsoid: below 1 inside. `tilt` leans its long axis outwards, in mm of x a mm of z."""
        offset = self.points_mm - np.reshape(centre_mm, (3, 1, 1, 1))
        x = offset[0] - tilt * offset[2]
        scaled = np.stack([x, offset[1], offset[2]]) / np.reshape(radii_mm, (3, 1, 1, 1))
        return np.asarray(np.square(scaled).sum(axis=0))

    def paint(self, where: NDArray[np.bool_], hu: float, spread_hu: float = 6.0) -> None:
        """Fill a region with `hu`, a little different in each case."""
        self.image_hu[where] = hu + self.rng.normal(0, spread_hu)


def make_phantoms(folder: Path | str, n: int = 10, seed: int = 0, name: str = "demo") -> Path:
    """Write `n` phantoms with label maps as a datasource.

    Args:
        folder: the datasource to write; files of the same names are replaced, others left.
        n: number of cases, at least 1.
        seed: equal seeds give equal files; case k does not depend on `n`.
        name: title of the file names, in small letters and digits.

    Returns:
        `folder`, with ``images/``, ``lms/`` and ``labels.json``.
    """
    if n < 1:
        raise ConfigError(f"phantoms: expected at least 1, found n={n}")
    folder = Path(folder)
    for index in range(n):
        image, lm, grid = make_phantom(index, seed)
        file_name = f"{name}_{index + 1:03d}.nii.gz"
        _write_image(folder / IMAGES / file_name, image, grid)
        write_label_map(folder / LMS / file_name, lm, grid, LABELS)
    write_json(folder / LABELS_FILE, {str(v): label for v, label in LABELS.items()})
    return folder


def make_phantom(index: int, seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """One phantom: image in HU and label map, both (x, y, z) RAS, and the native grid to store them on."""
    rng = np.random.default_rng([seed, index])
    shape = (int(rng.integers(66, 79)), int(rng.integers(54, 65)), int(rng.integers(32, 41)))
    spacing = np.array([*np.full(2, rng.uniform(1.5, 2.0)), rng.uniform(3.0, 4.0)]).round(3)
    image, lm = _draw(shape, spacing, rng)
    angle = np.deg2rad(_OBLIQUE_DEGREES) if index % 5 == 3 else 0.0
    grid = _native_grid(shape, spacing, _ORIENTATIONS[index % len(_ORIENTATIONS)], angle, rng)
    return image, lm, grid


def _draw(
    shape: tuple[int, int, int], spacing: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    scene = _Scene(np.stack(np.meshgrid(*axes, indexing="ij")), rng, np.full(shape, _AIR_HU))
    half = np.array(shape) * spacing / 2
    body_mm = half[:2] * rng.uniform(0.84, 0.94, size=2)
    _body(scene, body_mm, half[2])
    lm = np.zeros(shape, np.uint8)
    for side in (-1, 1):
        _kidney(scene, side, body_mm, half[2], lm)
    _tumours(scene, lm)
    # the point spread of a scanner, then noise that is partly smooth
    blurred = ndimage.gaussian_filter(scene.image_hu, sigma=0.6 * spacing.min() / spacing)
    grain = rng.normal(0, 9, shape) + 60 * ndimage.gaussian_filter(rng.normal(0, 1, shape), sigma=1.5)
    return np.clip(np.rint(blurred + grain), -1024, 3071).astype(np.int16), lm


def _body(scene: _Scene, body_mm: NDArray[np.float64], half_z: float) -> None:
    width, depth = body_mm
    tall = 40 * half_z
    scene.paint(scene.ellipsoid((0, 0, 0), (width, depth, tall)) < 1, -95)
    scene.paint(scene.ellipsoid((0, -0.02 * depth, 0), (0.88 * width, 0.82 * depth, tall)) < 1, 45)
    # fat around the kidneys and in the middle, where bowel and vessels lie
    scene.paint(scene.ellipsoid((0, -0.02 * depth, 0), (0.76 * width, 0.62 * depth, tall)) < 1, -90)
    liver_z = scene.rng.uniform(0.35, 0.6) * half_z
    scene.paint(
        scene.ellipsoid((0.36 * width, 0.26 * depth, liver_z), (0.40 * width, 0.38 * depth, 0.9 * half_z)) < 1, 105
    )
    for _ in range(6):  # loops of bowel
        place = scene.rng.uniform((-0.5, 0.1, -0.9), (0.3, 0.4, 0.5)) * (width, depth, half_z)
        scene.paint(scene.ellipsoid(place, scene.rng.uniform(7, 13, size=3)) < 1, 40, 25)
    spine_y = -0.56 * depth
    for side in (-1, 1):  # muscles beside the spine
        scene.paint(scene.ellipsoid((side * 17, spine_y + 3, 0), (11, 12, tall)) < 1, 60)
    vertebra = scene.ellipsoid((0, spine_y, 0), (13, 11, tall))
    scene.paint(vertebra < 1, 480, 40)
    scene.paint(vertebra < 0.62, 190, 15)
    scene.paint(scene.ellipsoid((0, spine_y - 15, 0), (5, 9, tall)) < 1, 420, 40)
    scene.paint(scene.ellipsoid((-4, spine_y + 19, 0), (7, 7, tall)) < 1, 185, 12)  # aorta
    scene.paint(scene.ellipsoid((11, spine_y + 18, 0), (8, 6, tall)) < 1, 165, 12)  # vena cava


def _kidney(scene: _Scene, side: int, body_mm: NDArray[np.float64], half_z: float, lm: NDArray[np.uint8]) -> None:
    """Cortex, darker medulla and a pelvis of fat that opens towards the spine; the left one lies higher."""
    rng = scene.rng
    width, depth = body_mm
    centre = np.array([side * rng.uniform(0.42, 0.50) * width, rng.uniform(-0.34, -0.22) * depth, 0.0])
    centre[2] = rng.uniform(-0.18, 0.12) * half_z + (6.0 if side < 0 else -4.0)
    radii = np.array([rng.uniform(11, 15), rng.uniform(11, 15), rng.uniform(24, 34)])
    tilt = -side * rng.uniform(0.05, 0.25)
    inside = scene.ellipsoid(centre, radii, tilt)
    pelvis = scene.ellipsoid(centre - (side * 0.75 * radii[0], 0, 0), radii * (0.6, 0.45, 0.35), tilt) < 1
    kidney = (inside < 1) & ~pelvis
    cortex_hu = rng.uniform(165, 195)
    scene.paint(kidney, cortex_hu)
    scene.paint((inside < 0.35) & ~pelvis, cortex_hu - 35)
    lm[kidney] = 1


def _tumours(scene: _Scene, lm: NDArray[np.uint8]) -> None:
    """One or two balls centred on a kidney's surface."""
    rng = scene.rng
    edge = np.argwhere((lm == 1) & ~ndimage.binary_erosion(lm == 1))
    spine_x = 18.0  # a tumour grows outwards, not into the spine
    outer = edge[np.abs(scene.points_mm[0][tuple(edge.T)]) > spine_x]
    for _ in range(int(rng.integers(1, 3))):
        centre = scene.points_mm[(slice(None), *outer[rng.integers(len(outer))])]
        ball = scene.ellipsoid(centre, rng.uniform(7.5, 12) * rng.uniform(0.9, 1.15, size=3)) < 1
        scene.paint(ball, rng.uniform(85, 110))
        lm[ball] = 2


def _native_grid(
    shape: tuple[int, int, int], spacing: NDArray[np.float64], code: str, angle: float, rng: np.random.Generator
) -> Grid:
    """Grid with axes in the order of `code` whose RAS form has `shape` and `spacing`, turned about z by `angle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    ras = np.eye(4)
    ras[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) * spacing
    ras[:3, 3] = rng.uniform(-120, -60, size=3).round(2)
    to_native = np.zeros((4, 4))
    to_native[3, 3] = 1.0
    native_shape = [0, 0, 0]
    for axis, letter in enumerate(code):
        world = "LRPAIS".index(letter) // 2
        flip = letter in "LPI"
        native_shape[axis] = shape[world]
        to_native[world, axis] = -1.0 if flip else 1.0
        to_native[world, 3] = shape[world] - 1 if flip else 0.0
    return Grid((native_shape[0], native_shape[1], native_shape[2]), ras @ to_native)


def _write_image(path: Path, image: NDArray[np.int16], grid: Grid) -> None:
    stored = np.ascontiguousarray(reorientation_to_ras(grid.affine).invert(image))
    with atomic_path(path) as temporary:
        nifti.write(temporary, stored, grid.affine, "phantom made by fran")
