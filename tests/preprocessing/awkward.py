"""Volumes that trip up a stage, and the modes as chains of stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np

from fran.io.files import file_digest
from fran.io.manifest import Manifest
from fran.preprocessing.pipeline import Link, run_chain
from fran.preprocessing.relabelling import EVERYBODY
from fran.preprocessing.stages.crop import Cut, Imported
from fran.preprocessing.stages.lbd import LbdStage
from fran.preprocessing.stages.pbd import PbdStage
from fran.preprocessing.stages.rbd import RbdStage
from fran.preprocessing.stages.source import CaseJob, SourceParams
from fran.preprocessing.stages.stage import Stage, folder_of
from fran.preprocessing.stages.whole import WholeStage

SHAPE = (40, 33, 26)
SPACING_MM = (0.9, 1.1, 1.7)
PATCH = (18, 16, 12)
WHOLE = (64, 60, 56)
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Awkward:
    """A raw label map on a raw grid, and the Dice that its shapes are large enough for after interpolation."""

    lm: np.ndarray
    affine: np.ndarray
    least_dice: float = 0.98

    @property
    def image(self) -> np.ndarray:
        """Whole HU that differ from voxel to voxel, brighter in labels."""
        noise = np.random.default_rng(0).integers(-200, 200, self.lm.shape)
        return (noise + 100 * self.lm.astype(np.int16)).astype(np.int16)

    def write(self, folder: Path, case_id: str = "kits_1") -> CaseJob:
        """The raw files and their job."""
        paths = [folder / kind / f"{case_id}.nii.gz" for kind in ("images", "lms")]
        for path, array in zip(paths, (self.image, self.lm), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, self.affine), path)
        return CaseJob(case_id, paths[0], paths[1], file_digest(paths[0]), file_digest(paths[1]), "CT", "kits")


def affine_of(directions: np.ndarray, spacing_mm: Triple = SPACING_MM) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing_mm)
    affine[:3, 3] = (-31.5, 12.25, 80.0)
    return affine


def orientations() -> list[np.ndarray]:
    """The 48 ways to lay array axes along the body's."""
    found = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[list(order), range(3)] = signs
        found.append(matrix)
    return found


def oblique() -> np.ndarray:
    """Turned by 25, -15 and 10 degrees about x, y and z, then stored in another axis order."""
    a, b, c = np.deg2rad([25, -15, 10])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z @ np.array([[0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0]]))


def two_organs(shape: tuple[int, int, int] = SHAPE, size: float = 0.8) -> np.ndarray:
    """Two touching halves of an ellipsoid off the centre, labels 2 and 7."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    lm = np.zeros(shape, np.uint8)
    lm[((x + 0.12) / size) ** 2 + ((y - 0.1) / size) ** 2 + ((z + 0.05) / size) ** 2 < 1] = 2
    lm[(lm == 2) & (x + 0.5 * y > 0.0)] = 7
    return lm


def at_the_border() -> np.ndarray:
    """Labels in a corner and on two whole sides."""
    lm = np.zeros(SHAPE, np.uint8)
    lm[:9, 20:, :] = 2
    lm[-12:, :, :10] = 7
    return lm


def one_voxel() -> np.ndarray:
    lm = np.zeros(SHAPE, np.uint8)
    lm[38, 2, 13] = 3
    return lm


STRAIGHT = affine_of(np.eye(3))
VOLUMES = {
    "plain": Awkward(two_organs(), STRAIGHT),
    "no foreground": Awkward(np.zeros(SHAPE, np.uint8), STRAIGHT),
    "labels at the border": Awkward(at_the_border(), STRAIGHT, 0.95),
    "crop smaller than the patch": Awkward(one_voxel(), STRAIGHT, 0.0),
    "volume smaller than the patch": Awkward(two_organs((11, 9, 7), 0.9), STRAIGHT, 0.0),
    "thinner than the patch": Awkward(two_organs((40, 33, 7), 0.8), STRAIGHT, 0.0),
    "one slice": Awkward(two_organs((40, 33, 1)), STRAIGHT, 0.0),
    "oblique and anisotropic": Awkward(two_organs(), affine_of(oblique(), (0.8, 0.8, 2.4))),
    **{f"orientation {i}": Awkward(two_organs(), affine_of(orientations()[i])) for i in (5, 30, 43)},
}


def _source(spacing_mm: Triple, guides: Path) -> list[Stage]:
    return [SourceParams(spacing_mm)]


def _whole(spacing_mm: Triple, guides: Path) -> list[Stage]:
    first = SourceParams(spacing_mm)
    return [first, WholeStage(first, WHOLE)]


def _lbd(spacing_mm: Triple, guides: Path) -> list[Stage]:
    first = SourceParams(spacing_mm)
    return [first, LbdStage(first, Cut(PATCH, 2.0))]


def _imported(spacing_mm: Triple, guides: Path) -> list[Stage]:
    first = SourceParams(spacing_mm)
    return [first, LbdStage(first, Cut(PATCH, 2.0), imported=Imported(((EVERYBODY, guides),)))]


def _rbd(spacing_mm: Triple, guides: Path) -> list[Stage]:
    first = SourceParams(spacing_mm)
    return [first, RbdStage(first, Cut(PATCH), Imported(((EVERYBODY, guides),)))]


def _lbd_pbd(spacing_mm: Triple, guides: Path) -> list[Stage]:
    stages = _lbd(spacing_mm, guides)
    return [*stages, PbdStage(stages[-1], Cut(PATCH), 0.25)]


def _sourcepbd(spacing_mm: Triple, guides: Path) -> list[Stage]:
    first = SourceParams(spacing_mm)
    return [first, PbdStage(first, Cut(PATCH, 3.0), 0.5)]


def _lbd_whole(spacing_mm: Triple, guides: Path) -> list[Stage]:
    stages = _lbd(spacing_mm, guides)
    return [*stages, WholeStage(stages[-1], WHOLE)]


MODES: dict[str, Callable[[Triple, Path], list[Stage]]] = {
    "source": _source,
    "whole": _whole,
    "lbd": _lbd,
    "lbd of imported labels": _imported,
    "rbd": _rbd,
    "pbd of lbd": _lbd_pbd,
    "sourcepbd": _sourcepbd,
    "whole of lbd": _lbd_whole,
}


def links_of(stages: Sequence[Stage], out: Path) -> list[Link]:
    return [Link(stage, folder_of(out / stage.name, stage)) for stage in stages]


def made(stages: Sequence[Stage], jobs: Sequence[CaseJob], out: Path) -> Manifest:
    """Manifest of the last stage after running all of them."""
    links = links_of(stages, out)
    run_chain(jobs, links)
    return Manifest.load(links[-1].folder)
