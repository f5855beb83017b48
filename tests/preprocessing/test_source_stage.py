from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fran.errors import GeometryError
from fran.io.casefile import CaseReader
from fran.io.volume import read_volume
from fran.labels import Remapping
from fran.preprocessing.foreground import label_boxes, sample_fg_indices
from fran.preprocessing.prepare import encode, prepare_case_image, prepare_image
from fran.preprocessing.relabelling import Relabelling
from fran.preprocessing.stages.source import CaseJob, SourceParams, process_case

MakeCase = Callable[..., CaseJob]
SAME_MM, OTHER_MM = (1.0, 1.3, 2.2), (1.5, 1.0, 3.0)


def run(job: CaseJob, tmp_path: Path, spacing_mm: tuple[float, float, float] = SAME_MM, **params: object) -> CaseReader:
    process_case(job, SourceParams(spacing_mm, **params), "key", tmp_path / "case.h5")
    return CaseReader(tmp_path / "case.h5")


def raw_of(reader: CaseReader) -> np.ndarray:
    return reader.read_all()[0].astype(np.float64) * reader.meta.slope + reader.meta.inter


def test_ct_at_its_own_spacing_is_kept(make_case: MakeCase, tmp_path: Path) -> None:
    job = make_case()
    reader = run(job, tmp_path)
    image, lm = reader.read_all()
    np.testing.assert_array_equal(image, nib.load(job.image).dataobj)
    np.testing.assert_array_equal(lm, nib.load(job.lm).dataobj)
    assert lm.dtype == np.uint8 and (reader.meta.slope, reader.meta.inter) == (1, 0)
    assert reader.meta.spacing_mm == SAME_MM and reader.meta.case_id == "a1"


def test_resampled_ct_has_the_wanted_spacing_and_sound_meta(make_case: MakeCase, tmp_path: Path) -> None:
    reader = run(make_case(), tmp_path, OTHER_MM)
    image, lm = reader.read_all()
    meta = reader.meta
    assert meta.spacing_mm == pytest.approx(OTHER_MM) and meta.shape == image.shape == lm.shape == (16, 25, 10)
    assert meta.labels == {v: int((lm == v).sum()) for v in (1, 3)}
    for label, (low, high) in meta.bboxes.items():
        inside = np.argwhere(lm == label)
        assert (low, high) == (tuple(inside.min(0)), tuple(inside.max(0) + 1))
    above = image[image > image.min()]
    assert meta.intensity["mean"] == pytest.approx(above.mean())
    assert meta.intensity["p995"] == pytest.approx(np.percentile(above, 99.5))


def test_ct_outside_int16_is_clipped_with_a_warning(make_case: MakeCase, tmp_path: Path) -> None:
    image = np.zeros((24, 19, 14), np.int32)
    image[3, 4, 5], image[4, 4, 5] = 70_000, -40_000
    notes = process_case(make_case(image=image), SourceParams(SAME_MM), "key", tmp_path / "case.h5")
    stored = CaseReader(tmp_path / "case.h5").read_all()[0]
    assert (stored[3, 4, 5], stored[4, 4, 5], stored[0, 0, 0]) == (32767, -32768, 0)
    assert [(n.severity, n.found) for n in notes] == [("warning", "2 voxels outside")]


def test_whole_mr_values_are_kept_and_others_scaled(make_case: MakeCase, tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 4000, (24, 19, 14)).astype(np.float32)
    reader = run(make_case(image=whole, modality="MR"), tmp_path)
    assert (reader.meta.slope, reader.meta.inter) == (1, 0)
    np.testing.assert_array_equal(raw_of(reader), whole)
    for image in (whole * 0.013 - 7, whole * 1e6, whole + 40_000):
        reader = run(make_case(image=image, modality="MR"), tmp_path)
        span = float(image.max() - image.min())
        np.testing.assert_allclose(raw_of(reader), image, atol=span / 65535 * 0.51)
        assert raw_of(reader).max() == pytest.approx(image.max(), rel=1e-6)
        assert reader.read_all()[0].min() == -32768
        assert reader.meta.intensity["mean"] == pytest.approx(image[image > image.min()].mean(), rel=1e-4)


def test_constant_mr() -> None:
    stored, slope, inter, _ = encode(np.full((2, 3, 4), 0.37, np.float32), "MR")
    np.testing.assert_allclose(stored * slope + inter, 0.37, rtol=1e-6)


def test_half_precision_keeps_raw_units_except_where_they_do_not_fit() -> None:
    raw = np.random.default_rng(0).normal(300, 90, (7, 5, 4)).astype(np.float32)
    stored, slope, inter, _ = encode(raw, "MR", half_precision=True)
    assert stored.dtype == np.float16 and (slope, inter) == (1, 0)
    np.testing.assert_allclose(stored, raw, rtol=2**-11)
    for modality, image in (("MR", raw * 1000), ("CT", raw)):
        np.testing.assert_array_equal(encode(image, modality, half_precision=True)[0], encode(image, modality)[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.float64])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_dtype_is_encoded(dtype: type, modality: str) -> None:
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4).transpose(2, 0, 1)
    stored, slope, inter, clipped = encode(array, modality)
    assert stored.dtype == np.int16 and stored.flags.c_contiguous and (slope, inter, clipped) == (1, 0, 0)
    np.testing.assert_array_equal(stored, array)


def test_inference_prepares_what_the_case_file_holds(make_case: MakeCase, tmp_path: Path) -> None:
    job = make_case(modality="MR")
    reader = run(job, tmp_path, OTHER_MM)
    prepared = prepare_case_image(read_volume(job.image), OTHER_MM, "MR")
    np.testing.assert_array_equal(prepared.stored, reader.read_all()[0])
    assert prepared.intensity == reader.meta.intensity
    assert prepared.chain.to_dict() == reader.meta.geometry
    raw, grid, chain = prepare_image(read_volume(job.image), OTHER_MM)
    assert raw.dtype == np.float32 and raw.shape == grid.shape == chain.stored.shape
    np.testing.assert_allclose(raw_of(reader), raw, atol=prepared.slope * 0.51)


def test_half_precision_reaches_the_file_and_its_address(make_case: MakeCase, tmp_path: Path) -> None:
    job = replace(make_case(), modality="MR")
    half, full = SourceParams(OTHER_MM, half_precision=True), SourceParams(OTHER_MM)
    assert run(job, tmp_path, OTHER_MM, half_precision=True).read_all()[0].dtype == np.float16
    assert half.key() != full.key() and half.case_key(job.with_digests()) != full.case_key(job.with_digests())
    prepared = prepare_case_image(read_volume(job.image), OTHER_MM, "MR", half_precision=True)
    assert prepared.stored.dtype == np.float16


def test_a_clipped_ct_is_what_a_network_sees_of_it(make_case: MakeCase, tmp_path: Path) -> None:
    job, window = make_case(), (-50, 100)
    every = run(job, tmp_path, OTHER_MM)
    (image, lm), size = every.read_all(), every.path.stat().st_size
    assert image.min() < window[0] and image.max() > window[1]
    clipped = run(job, tmp_path, OTHER_MM, clip_hu=window)
    np.testing.assert_array_equal(clipped.read_all()[0], np.clip(image, *window))
    np.testing.assert_array_equal(clipped.read_all()[1], lm)
    assert clipped.path.stat().st_size < size


def test_clipping_is_in_the_address_of_ct_alone(make_case: MakeCase) -> None:
    whole, clipped = SourceParams(OTHER_MM), SourceParams(OTHER_MM, clip_hu=(-150, 250))
    ct, mr = make_case(), make_case(modality="MR")
    assert whole.key() != clipped.key() and whole.case_key(ct) != clipped.case_key(ct)
    assert whole.case_key(mr) == clipped.case_key(mr)


def test_single_slice_and_small_volumes(make_case: MakeCase, tmp_path: Path) -> None:
    lm = np.zeros((24, 19, 1), np.uint8)
    lm[4:15, 3:9] = 1
    reader = run(make_case(lm=lm), tmp_path, OTHER_MM)
    assert reader.shape == (16, 25, 1)
    assert reader.read((-3, -3, -3), (30, 40, 9))[1].sum() == reader.meta.labels[1] > 0
    tiny = np.ones((1, 2, 1), np.uint8)
    assert run(make_case(lm=tiny), tmp_path, (9.0, 9.0, 9.0)).shape == (1, 1, 1)


def test_no_foreground_is_a_case_too(make_case: MakeCase, tmp_path: Path) -> None:
    reader = run(make_case(lm=np.zeros((24, 19, 14), np.uint8)), tmp_path, OTHER_MM)
    assert reader.meta.labels == reader.meta.bboxes == {} and reader.fg_indices(1).shape == (0, 3)


def test_fg_indices_lie_in_their_label(make_case: MakeCase, tmp_path: Path) -> None:
    reader = run(make_case(), tmp_path, OTHER_MM)
    lm = reader.read_all()[1]
    for label, count in reader.meta.labels.items():
        indices = reader.fg_indices(label)
        assert len(np.unique(indices, axis=0)) == len(indices) == count
        assert (lm[tuple(indices.T)] == label).all()
    assert len(run(make_case(), tmp_path, use_fg_indices=False).fg_indices(1)) == 0
    excluded = run(make_case(), tmp_path, fg_indices_exclude=(1,))
    assert len(excluded.fg_indices(1)) == 0 < len(excluded.fg_indices(3))


@pytest.mark.parametrize("order", ["as made", "fortran", "turned", "part of a larger map"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_boxes_equal_their_definition(order: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    lm = (rng.integers(0, 200, (9, 13, 7)) * (rng.random((9, 13, 7)) < 0.4)).astype(dtype)
    lm[2, 3, 4] = np.iinfo(dtype).max
    layouts = {"fortran": np.asfortranarray(lm), "turned": lm.transpose(1, 2, 0)[::-1, :, ::-1], "as made": lm}
    given = layouts.get(order, lm[1:, 2:9, ::2])
    counts, boxes = label_boxes(given)
    values = [int(v) for v in np.unique(given) if v]
    assert list(counts) == list(boxes) == values
    for value in values:
        where = np.argwhere(given == value)
        assert counts[value] == len(where)
        assert boxes[value] == (tuple(where.min(axis=0)), tuple(where.max(axis=0) + 1))
    assert label_boxes(np.zeros((3, 2, 1), dtype)) == ({}, {})


def test_fg_indices_are_bounded_spread_and_seeded() -> None:
    lm = np.zeros((60, 50, 40), np.uint16)
    lm[10:50, 10:40, 5:35], lm[0, 1, 2] = 700, 3
    counts, boxes = label_boxes(lm)
    assert counts == {3: 1, 700: 36000} and boxes[700] == ((10, 10, 5), (50, 40, 35))
    first, again, other = (sample_fg_indices(lm, counts, boxes, case_id=c, limit=500) for c in ("a", "a", "b"))
    assert first[700].shape == (500, 3) and len(np.unique(first[700], axis=0)) == 500
    assert (lm[tuple(first[700].T)] == 700).all() and first[3].tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(first[700].mean(axis=0), [29.5, 24.5, 19.5], atol=2)
    np.testing.assert_array_equal(first[700], again[700])
    assert (first[700] != other[700]).any()


def test_remapping_reaches_the_file(make_case: MakeCase, tmp_path: Path) -> None:
    ones = Relabelling.of({"kits": Remapping.of({3: 1}), "lits": None})
    assert set(run(make_case(), tmp_path, remapping=ones).meta.labels) == {1}
    assert set(run(replace(make_case(), datasource="lits"), tmp_path, remapping=ones).meta.labels) == {1, 3}


@pytest.mark.parametrize("shift_mm, severity", [(0.0, None), (0.005, "note"), (0.05, "warning"), (0.45, "warning")])
def test_small_differences_are_harmonised(
    make_case: MakeCase, tmp_path: Path, shift_mm: float, severity: str | None
) -> None:
    job = make_case()
    move_label_map(job, shift_mm)
    notes = process_case(job, SourceParams(SAME_MM), "key", tmp_path / "case.h5")
    assert [n.severity for n in notes] == ([severity] if severity else [])
    assert CaseReader(tmp_path / "case.h5").meta.affine[1][3] == 0


def move_label_map(job: CaseJob, shift_mm: float) -> None:
    affine = np.diag([*SAME_MM, 1.0])
    affine[1, 3] = shift_mm
    nib.save(nib.Nifti1Image(np.asarray(nib.load(job.lm).dataobj), affine), job.lm)


def test_large_differences_are_refused_with_both_values(make_case: MakeCase, tmp_path: Path) -> None:
    job = make_case()
    move_label_map(job, 0.6)
    with pytest.raises(GeometryError, match=r"a1: origin.*\[0\.0, 0\.0, 0\.0\].*\[0\.0, 0\.6, 0\.0\]"):
        run(job, tmp_path)
    nib.save(nib.Nifti1Image(np.zeros((24, 19, 13), np.uint8), np.diag([*SAME_MM, 1])), job.lm)
    with pytest.raises(GeometryError, match=r"shape.*\(24, 19, 14\).*\(24, 19, 13\)"):
        run(job, tmp_path)
    nib.save(nib.Nifti1Image(np.zeros((24, 19, 14), np.uint8), np.diag([1, 1.3, 2.4, 1])), job.lm)
    with pytest.raises(GeometryError, match=r"spacing.*2\.2.*2\.4"):
        run(job, tmp_path)
