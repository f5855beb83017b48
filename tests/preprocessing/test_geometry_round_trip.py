"""Raw label map → case file → its labels as the scores of a perfect network → exported: the raw label map again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fran.geometry import Grid, reorientation_to_ras
from fran.io.casefile import CaseReader
from fran.io.volume import write_label_map
from fran.labels import LabelScheme
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.stages.source import CaseJob, SourceParams, process_case

SHAPE = (40, 33, 26)
SPACING_MM = (0.9, 1.1, 1.7)


def signed_permutations() -> list[np.ndarray]:
    matrices = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[list(order), range(3)] = signs
        matrices.append(matrix)
    return matrices


def oblique() -> np.ndarray:
    """Turned by 25, -15 and 10 degrees about x, y and z, then stored in another axis order."""
    a, b, c = np.deg2rad([25, -15, 10])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z @ np.array([[0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0]])


def affine_of(directions: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(SPACING_MM)
    affine[:3, 3] = (-31.5, 12.25, 80.0)
    return affine


def label_map() -> np.ndarray:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    lm = np.zeros(SHAPE, np.uint8)
    lm[((x + 0.12) / 0.8) ** 2 + ((y - 0.1) / 0.8) ** 2 + ((z + 0.05) / 0.85) ** 2 < 1] = 2
    lm[(lm == 2) & (x + 0.5 * y > 0.0)] = 7
    return lm


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def through_the_network_and_back(job: CaseJob, spacing_mm: tuple[float, float, float], out: Path) -> np.ndarray:
    process_case(job, SourceParams(spacing_mm), "key", out / "case.h5")
    reader = CaseReader(out / "case.h5")
    scheme = LabelScheme(tuple(reader.meta.labels))
    channels = scheme.to_channels(reader.read_all()[1])
    scores = np.stack([channels == c for c in range(scheme.n_classes)]).astype(np.float16)
    chain = GeometryChain.from_dict(reader.meta.geometry)
    write_label_map(out / "out.nii.gz", scheme.from_channels(chain.scores_to_ras(scores)), chain.native)
    exported = nib.load(out / "out.nii.gz")
    np.testing.assert_allclose(exported.affine, nib.load(job.image).affine, atol=1e-4)
    native = scheme.from_channels(chain.scores_to_native(scores))
    np.testing.assert_array_equal(native, np.asarray(exported.dataobj))
    return native


ALL_DIRECTIONS = [pytest.param(m, id=str(i)) for i, m in enumerate(signed_permutations())]


@pytest.mark.parametrize("directions", [*ALL_DIRECTIONS, pytest.param(oblique(), id="oblique")])
def test_every_orientation(directions: np.ndarray, make_case: Callable[..., CaseJob], tmp_path: Path) -> None:
    lm, affine = label_map(), affine_of(directions)
    job = make_case(lm=lm, affine=affine)
    ras_spacing_mm = reorientation_to_ras(affine).apply_grid(Grid(SHAPE, affine)).spacing_mm
    np.testing.assert_array_equal(through_the_network_and_back(job, ras_spacing_mm, tmp_path), lm)
    resampled = through_the_network_and_back(job, (1.3, 1.0, 0.8), tmp_path)
    for label in (2, 7):
        assert dice(resampled == label, lm == label) >= 0.98


def test_image_and_label_map_stay_together(make_case: Callable[..., CaseJob], tmp_path: Path) -> None:
    """An image that is its own label map, in two axis orders, gives the same stored voxels."""
    lm, affine = label_map(), affine_of(oblique())
    job = make_case(lm=lm, image=lm.astype(np.int16) * 100, affine=affine)
    # store the label map alone with two axes swapped and one reversed; physically nothing changes
    moved = np.array([[0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, -1.0, SHAPE[2] - 1], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(lm.transpose(1, 0, 2)[:, :, ::-1], affine @ moved), job.lm)
    process_case(job, SourceParams((1.3, 1.0, 1.1)), "key", tmp_path / "case.h5")
    image, stored = CaseReader(tmp_path / "case.h5").read_all()
    assert dice(image > 100, stored > 0) > 0.97
    assert dice(image > 450, stored == 7) > 0.97


def test_chain_survives_json(make_case: Callable[..., CaseJob], tmp_path: Path) -> None:
    job = make_case(lm=label_map(), affine=affine_of(oblique()))
    process_case(job, SourceParams((1.3, 1.0, 1.1)), "key", tmp_path / "case.h5")
    stored = CaseReader(tmp_path / "case.h5").meta.geometry
    chain = GeometryChain.from_dict(stored)
    assert chain.to_dict() == stored
    assert chain.native.orientation != "RAS" and chain.ras.orientation == chain.stored.orientation == "RAS"
    np.testing.assert_allclose(chain.native.affine, affine_of(oblique()), atol=1e-5)
    lm = CaseReader(tmp_path / "case.h5").read_all()[1]
    assert chain.labels_to_native(lm).shape == SHAPE
