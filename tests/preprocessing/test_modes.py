"""The contract that every mode keeps on every awkward volume: what it stores leads back to the raw voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fran.io.manifest import Manifest
from fran.io.volume import read_volume
from fran.labels import LabelScheme
from fran.preprocessing.chain import GeometryChain

from .awkward import MODES, PATCH, SHAPE, SPACING_MM, VOLUMES, WHOLE, Awkward, made

LEAST_SIZE = {"lbd": PATCH, "rbd": PATCH}
EXACT_SIZE = {"whole": WHOLE, "pbd": PATCH}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def put_back(manifest: Manifest) -> np.ndarray:
    """Labels of all files of a manifest on the raw file's own voxels, by the scores of a network that is right."""
    result: np.ndarray | None = None
    for file_id in manifest.cases:
        reader = manifest.reader(file_id)
        lm = reader.read_all()[1]
        chain = GeometryChain.from_dict(reader.meta.geometry)
        assert chain.to_dict() | reader.meta.geometry == reader.meta.geometry
        scheme = LabelScheme.from_values(range(1, 8))
        scores = np.stack([scheme.to_channels(lm) == c for c in range(scheme.n_classes)]).astype(np.float16)
        native = scheme.from_channels(chain.scores_to_native(scores))
        assert (native != chain.labels_to_native(lm)).mean() < 0.01  # where two labels tie they may decide differently
        result = native if result is None else np.maximum(result, native)
    assert result is not None
    return result


@pytest.mark.parametrize("volume", [pytest.param(v, id=n) for n, v in VOLUMES.items()])
@pytest.mark.parametrize("mode", list(MODES))
def test_a_mode_keeps_its_contract(mode: str, volume: Awkward, tmp_path: Path) -> None:
    job = volume.write(tmp_path / "raw")
    ras = read_volume(job.image)
    manifest = made(MODES[mode](ras.grid.spacing_mm, job.lm.parent), [job], tmp_path / "exact")
    assert manifest.files_by_case().keys() == {job.case_id}
    for file_id, entry in manifest.cases.items():
        check_file(manifest, file_id, ras.array)
        assert all(a >= b for a, b in zip(entry.shape, LEAST_SIZE.get(manifest.stage, (1, 1, 1)), strict=True))
        assert manifest.stage not in EXACT_SIZE or entry.shape == EXACT_SIZE[manifest.stage]
    back = put_back(manifest)
    if "whole" in mode:
        close_enough(back, volume)
    else:
        np.testing.assert_array_equal(back, volume.lm)
    resampled = made(MODES[mode]((0.8, 1.0, 0.9), job.lm.parent), [job], tmp_path / "resampled")
    close_enough(put_back(resampled), volume)


def close_enough(back: np.ndarray, volume: Awkward) -> None:
    for label in np.unique(volume.lm)[1:]:
        assert dice(back == label, volume.lm == label) >= volume.least_dice


def check_file(manifest: Manifest, file_id: str, raw: np.ndarray) -> None:
    """Geometry, counts and boxes are those of the voxels, which are the raw ones where nothing was interpolated."""
    reader = manifest.reader(file_id)
    meta, (image, lm) = reader.meta, reader.read_all()
    chain = GeometryChain.from_dict(meta.geometry)
    assert chain.stored.shape == image.shape == lm.shape == meta.shape
    np.testing.assert_allclose(chain.stored.affine, meta.affine)
    assert meta.labels == {int(v): int((lm == v).sum()) for v in np.unique(lm) if v}
    for label, (low, high) in meta.bboxes.items():
        inside = np.argwhere(lm == label)
        assert (low, high) == (tuple(inside.min(0)), tuple(inside.max(0) + 1))
        assert (lm[tuple(reader.fg_indices(label).T)] == label).all()
    if any(step["name"] == "resize" for step in chain.steps):
        return
    inner = chain.inner or ((0, 0, 0), image.shape)
    covers = chain.covers or ((0, 0, 0), raw.shape)
    kept, source = (tuple(slice(a, b) for a, b in zip(*box, strict=True)) for box in (inner, covers))
    np.testing.assert_array_equal(image[kept], raw[source])
    padding = np.ones(image.shape, bool)
    padding[kept] = False
    assert not lm[padding].any()
    crops = [step for step in chain.steps if step["name"] == "crop"]
    assert not crops or (np.array(crops[-1]["padding"]).sum() > 0) == padding.any()


def test_a_crop_has_its_margin_and_no_more(tmp_path: Path) -> None:
    job = VOLUMES["plain"].write(tmp_path / "raw")
    manifest = made(MODES["lbd"](SPACING_MM, tmp_path), [job], tmp_path / "out")
    box = np.argwhere(VOLUMES["plain"].lm)
    margin = np.ceil(2.0 / np.array(SPACING_MM)).astype(int)
    low, high = np.maximum(0, box.min(0) - margin), np.minimum(SHAPE, box.max(0) + 1 + margin)
    assert manifest.cases[job.case_id].shape == tuple(high - low)
    step = manifest.reader(job.case_id).meta.geometry["steps"][-1]
    assert step == {"name": "crop", "box": [low.tolist(), high.tolist()], "padding": [[0, 0]] * 3}


def test_padding_is_recorded(tmp_path: Path) -> None:
    job = VOLUMES["volume smaller than the patch"].write(tmp_path / "raw")
    manifest = made(MODES["lbd"](SPACING_MM, tmp_path), [job], tmp_path / "out")
    step = manifest.reader(job.case_id).meta.geometry["steps"][-1]
    assert step["padding"] == [[3, 4], [3, 4], [2, 3]] and step["box"] == [[0, 0, 0], [11, 9, 7]]


def test_patches_cover_the_box_and_overlap(tmp_path: Path) -> None:
    job = VOLUMES["plain"].write(tmp_path / "raw")
    manifest = made(MODES["sourcepbd"](SPACING_MM, tmp_path), [job], tmp_path / "out")
    files = manifest.files_by_case()[job.case_id]
    assert files[0] == "kits_1_000" and len(files) > 4
    covered = np.zeros(VOLUMES["plain"].lm.shape, int)
    for file_id in files:
        assert manifest.cases[file_id].parent == job.case_id
        low, high = manifest.reader(file_id).meta.geometry["steps"][-1]["box"]
        covered[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] += 1
    assert covered[VOLUMES["plain"].lm > 0].min() >= 1 and covered.max() > 1
