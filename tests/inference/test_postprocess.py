"""Rules of post-processing against scipy.ndimage, and what `fran infer` makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fran.errors import CasesFailed, ConfigError, DataError
from fran.inference.folder import predict_folder
from fran.inference.postprocess import Change, PostProcessed, apply_rules
from fran.inference.postprocess_folder import postprocess_folder
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.projects.mask_labels import LabelRule

SHAPE = (9, 7, 6)
AFFINE = np.array([[0, -1.2, 0, 3.0], [0.8, 0, 0, -4.0], [0, 0, 3.0, 5.0], [0, 0, 0, 1]])
VOXEL_MM3 = 1.2 * 0.8 * 3.0

rules_of_a_label = st.builds(
    LabelRule,
    dusting_threshold=st.integers(0, 12),
    dusting_threshold_mm3=st.sampled_from([0.0, 1.0, 7.5, 30.0]),
    k_largest=st.one_of(st.none(), st.integers(1, 3)),
    fill_holes=st.booleans(),
)


def by_scipy(lm: np.ndarray, rules: Mapping[int, LabelRule], voxel_mm3: float) -> np.ndarray:
    """The same rules over whole volumes."""
    out = lm.copy()
    for value, rule in rules.items():
        numbers, n = ndimage.label(lm == value, np.ones((3, 3, 3)))
        sizes = ndimage.sum_labels(lm == value, numbers, range(1, n + 1))
        centres = ndimage.center_of_mass(lm == value, numbers, range(1, n + 1))
        in_order = sorted(range(n), key=lambda i: (-sizes[i], tuple(np.round(centres[i], 9))))
        for place, i in enumerate(in_order):
            dust = sizes[i] < rule.dusting_threshold or sizes[i] * voxel_mm3 < rule.dusting_threshold_mm3
            if dust or (rule.k_largest is not None and place >= rule.k_largest):
                out[numbers == i + 1] = 0
    extents = {v: np.ptp(np.argwhere(out == v), axis=0) + 1 for v in rules if (out == v).any()}
    for value in sorted(extents, key=lambda v: (np.prod(extents[v]), v)):
        if rules[value].fill_holes:
            out[ndimage.binary_fill_holes(out == value) & (out == 0)] = value
    return out


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    labels=st.integers(0, 5),
    background=st.floats(0.0, 0.9),
    smooth=st.booleans(),
    layout=st.sampled_from(["C", "F", "flipped", "turned"]),
    rules=st.dictionaries(st.integers(1, 6), rules_of_a_label, max_size=6),
)
def test_equals_scipy(
    seed: int, labels: int, background: float, smooth: bool, layout: str, rules: dict[int, LabelRule]
) -> None:
    rng = np.random.default_rng(seed)
    lm = rng.integers(1, labels + 1, SHAPE, dtype=np.uint8) if labels else np.zeros(SHAPE, np.uint8)
    if smooth:  # larger pieces, with holes
        lm = np.asarray(ndimage.median_filter(lm, 3))
    lm[rng.random(SHAPE) < background] = 0
    expected = by_scipy(lm, rules, VOXEL_MM3)
    laid_out = {
        "C": lm,
        "F": np.asfortranarray(lm),
        "flipped": np.ascontiguousarray(lm[::-1, :, ::-1])[::-1, :, ::-1],
        "turned": np.ascontiguousarray(lm.transpose(1, 2, 0)).transpose(2, 0, 1),
    }[layout].copy("K")
    changes = apply_rules(laid_out, rules, VOXEL_MM3)
    np.testing.assert_array_equal(laid_out, expected)
    assert set(changes) == {v for v, rule in rules.items() if rule.changes and (lm == v).any()}
    for value, change in changes.items():
        assert (laid_out == value).sum() == (lm == value).sum() - change.removed_vox + change.filled_vox


def test_a_threshold_in_mm3_goes_by_the_voxel() -> None:
    lm = np.zeros(SHAPE, np.uint8)
    lm[1:4, 2, 2] = 1  # 3 voxels
    lm[6:8, 5, 4] = 1  # 2 voxels
    rule = LabelRule(dusting_threshold_mm3=3 * VOXEL_MM3)
    kept = lm.copy()
    assert apply_rules(kept, {1: rule}, VOXEL_MM3)[1] == Change(2, 1, 2)
    assert kept.sum() == 3
    # three voxels of a grid stored in float32 are three voxels
    assert apply_rules(lm.copy(), {1: rule}, VOXEL_MM3 * (1 - 1e-7))[1].removed == 1
    assert apply_rules(lm.copy(), {1: rule}, VOXEL_MM3 * 2)[1].removed == 0


def test_of_equal_components_the_same_is_kept_however_the_array_lies_in_memory() -> None:
    lm = np.zeros(SHAPE, np.uint8)
    lm[1, 5, 4] = lm[7, 1, 0] = lm[1, 1, 5] = 1
    for array in (lm.copy("C"), lm.copy("F"), np.ascontiguousarray(lm[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]):
        apply_rules(array, {1: LabelRule(k_largest=1)}, 1.0)
        assert np.argwhere(array).tolist() == [[1, 1, 5]]


def test_holes_belong_to_the_innermost_label_and_take_nothing_from_others() -> None:
    lm = np.zeros((11, 10, 9), np.uint8)
    lm[0:11, 0:10, 0:9] = 1
    lm[1:10, 1:9, 1:8] = 0
    lm[3:8, 3:7, 3:6] = 2
    lm[5, 5, 4] = 0
    lm[2, 2, 2] = 3  # an island that its own rule removes
    rules = {1: LabelRule(fill_holes=True), 2: LabelRule(fill_holes=True), 3: LabelRule(dusting_threshold=2)}
    changes = apply_rules(lm, rules, 1.0)
    assert lm[5, 5, 4] == 2
    assert lm[2, 2, 2] == 1
    assert not (lm == 0).any()
    assert changes[2].filled_vox == 1
    open_one = np.ones((4, 5, 6), np.uint8)
    open_one[1:3, 2, 0:3] = 0  # reaches the edge of the volume
    assert apply_rules(open_one, {1: LabelRule(fill_holes=True)}, 1.0)[1].filled_vox == 0


def test_many_labels_of_one_voxel() -> None:
    lm = np.zeros((40, 12, 11), np.uint16)
    lm[:, 3, 4] = np.arange(300, 340)
    kept = lm.copy()
    apply_rules(kept, {v: LabelRule(k_largest=1, fill_holes=True) for v in range(300, 340)}, 1.0)
    np.testing.assert_array_equal(kept, lm)
    apply_rules(kept, {v: LabelRule(dusting_threshold=2) for v in range(300, 340, 2)}, 1.0)
    np.testing.assert_array_equal(np.unique(kept), [0, *range(301, 340, 2)])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image in which the networks of `make_model` see label 3 in two places, and 117 as one voxel and as a shell."""
    raw = np.zeros((8, 9, 7), np.int16)
    raw[1:5, 1:4, 1:4] = 200
    raw[7, 8, 6] = 200
    raw[6, 1, 1] = 500
    raw[2:7, 5:8, 2:5] = 500
    raw[4, 6, 3] = 0
    (tmp_path / "new").mkdir()
    nibabel.save(nibabel.Nifti1Image(raw, AFFINE), tmp_path / "new" / "kits_0.nii.gz")
    return tmp_path / "new" / "kits_0.nii.gz"


RULES = {3: LabelRule("kidney", dusting_threshold=2), 117: LabelRule("tumour", k_largest=1, fill_holes=True)}
CHANGES = {
    "3": {"components": 2, "removed": 1, "removed_vox": 1, "removed_mm3": 2.88},
    "117": {"components": 2, "removed": 1, "removed_vox": 1, "removed_mm3": 2.88, "filled_vox": 1, "filled_mm3": 2.88},
}


def _voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def _predictor(make_model: Callable[..., ModelFile]) -> Predictor:
    return Predictor([make_model(spacing=[1.2, 0.8, 3.0])], "cpu", precision="32")


def test_predictions_are_post_processed_and_say_so(
    image: Path, make_model: Callable[..., ModelFile], rule: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    plain = _predictor(make_model)
    cleaned = PostProcessed(plain, RULES)
    out = tmp_path / "out"
    predict_folder(cleaned, image, out, progress=False)
    expected = by_scipy(rule(_voxels(image)), RULES, VOXEL_MM3)
    assert (expected != rule(_voxels(image))).sum() == 3
    np.testing.assert_array_equal(_voxels(out / image.name), expected)
    stored = json.loads((out / "kits_0.json").read_text())
    assert stored["postprocess"] == {
        "3": {"name": "kidney", "dusting_threshold": 2},
        "117": {"name": "tumour", "k_largest": 1, "fill_holes": True},
    }
    assert stored["case"]["postprocess"] == CHANGES
    assert stored["seconds"]["postprocess"] >= 0
    assert predict_folder(cleaned, image, out, progress=False).n_skipped == 1
    for other in (plain, PostProcessed(plain, {3: LabelRule("kidney", dusting_threshold=3)})):
        with pytest.raises(CasesFailed, match="other postprocess"):
            predict_folder(other, image, out, progress=False)


def test_label_maps_that_are_there_already(image: Path, make_model: Callable[..., ModelFile], tmp_path: Path) -> None:
    raw, out, plain = tmp_path / "raw", tmp_path / "out", _predictor(make_model)
    predict_folder(plain, image, raw, progress=False)
    by_position = {1: RULES[3], 2: RULES[117]}  # the project has renumbered its labels since
    (result,) = postprocess_folder(raw, out, by_position)
    assert (result.status, result.names) == ("written", {3: "kidney", 117: "tumour"})
    direct = tmp_path / "direct"
    cleaned = PostProcessed(plain, RULES)
    predict_folder(cleaned, image, direct, progress=False)
    np.testing.assert_array_equal(_voxels(out / image.name), _voxels(direct / image.name))
    np.testing.assert_allclose(nibabel.load(out / image.name).affine, AFFINE, atol=1e-6)
    stored = json.loads((out / "kits_0.json").read_text())
    assert stored["case"]["postprocess"] == CHANGES
    assert predict_folder(cleaned, image, out, progress=False).n_skipped == 1, "as if fran infer had done it"

    assert [r.status for r in postprocess_folder(raw, out, by_position)] == ["skipped"]
    others = {3: LabelRule(k_largest=2)}
    before = (out / image.name).read_bytes()
    with pytest.raises(CasesFailed, match="made with other rules"):
        postprocess_folder(raw, out, others)
    assert (out / image.name).read_bytes() == before
    assert [r.status for r in postprocess_folder(raw, out, others, overwrite=True)] == ["written"]
    twice = tmp_path / "twice"
    postprocess_folder(direct, twice, others)
    assert len(json.loads((twice / "kits_0.json").read_text())["postprocess"]) == 2


def test_label_maps_of_others_go_by_value(tmp_path: Path) -> None:
    lm = np.zeros(SHAPE, np.uint8)
    lm[1:3, 2:5, 3] = 1
    lm[8, 6, 5] = lm[0, 0, 0] = 2
    (tmp_path / "lms").mkdir()
    nibabel.save(nibabel.Nifti1Image(lm, AFFINE), tmp_path / "lms" / "kits_7.nii.gz")
    (tmp_path / "lms" / "kits_8.nii.gz").write_bytes(b"")
    rules = {1: LabelRule("kidney", k_largest=1), 2: LabelRule(dusting_threshold=2)}
    with pytest.raises(CasesFailed, match=r"1 of 2 label maps failed \(1 done\)[\s\S]*0 bytes") as caught:
        postprocess_folder(tmp_path, tmp_path / "out", rules)
    assert [p.case_id for p in caught.value.problems] == ["kits_8"]
    expected = np.where(lm == 2, 0, lm)
    np.testing.assert_array_equal(_voxels(tmp_path / "out" / "kits_7.nii.gz"), expected)


def test_what_cannot_be_post_processed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        postprocess_folder(tmp_path, tmp_path / "out", RULES)
    for name in ("kits_1.nii.gz", "kits_2.nrrd"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="changes something"):
        postprocess_folder(tmp_path, tmp_path / "out", {1: LabelRule("kidney")})
    with pytest.raises(ConfigError, match="itself"):
        postprocess_folder(tmp_path, tmp_path, RULES, overwrite=True)
    (tmp_path / "kits_1.nrrd").touch()
    with pytest.raises(DataError, match="one file a case"):
        postprocess_folder(tmp_path, tmp_path / "out", RULES)


def test_a_file_that_is_in_the_way_is_kept(tmp_path: Path) -> None:
    lm: Any = np.zeros(SHAPE, np.uint8)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    nibabel.save(nibabel.Nifti1Image(lm, AFFINE), tmp_path / "in" / "kits_7.nii.gz")
    by_hand = tmp_path / "out" / "kits_7.nii.gz"
    by_hand.write_bytes(b"corrected by hand")
    with pytest.raises(CasesFailed, match="another origin"):
        postprocess_folder(tmp_path / "in", tmp_path / "out", RULES)
    assert by_hand.read_bytes() == b"corrected by hand"
