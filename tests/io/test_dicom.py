"""DICOM series against the volumes that they were made from, and every way in which slices make no volume."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from fran.errors import DataError
from fran.io.dicom import choose_series, find_series, read_series
from fran.io.volume import Volume
from tests.dicom_series import write_series

SHAPE = (7, 6, 5)  # columns, rows, slices
SPACING = (0.8, 1.25, 3.0)
UPRIGHT = np.eye(3)


def _oblique(axes: np.ndarray) -> np.ndarray:
    a, b = np.deg2rad(11), np.deg2rad(-7)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x @ axes


def _stored(dtype: str = "int16", seed: int = 0) -> np.ndarray:
    low = -1000 if dtype == "int16" else 0
    return np.random.default_rng(seed).integers(low, 3000, SHAPE).astype(dtype)


def _read(folder: Path, **chosen: Any) -> Volume:
    return read_series(choose_series(folder, **chosen), folder)[0]


def _signed_axes() -> list[np.ndarray]:
    """Directions of columns and rows along every pair of axes with every sign; slices along their normal."""
    found = []
    for a, b, _ in permutations(range(3)):
        for s, t in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            axes = np.zeros((3, 3))
            axes[a, 0], axes[b, 1] = s, t
            axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
            found.append(axes)
    return found


@pytest.mark.parametrize("turn", [lambda axes: axes, _oblique], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", _signed_axes(), ids=lambda axes: str(axes[:, :2].T.astype(int).tolist()))
def test_voxels_and_affine(axes: np.ndarray, turn: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    stored = _stored()
    affine = write_series(tmp_path, stored, turn(axes), SPACING, intercept=-1024)
    volume = _read(tmp_path)
    np.testing.assert_allclose(volume.native.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(volume.reorientation.invert(volume.array), stored.astype(int) - 1024)
    assert volume.grid.orientation == "RAS"


def test_files_in_any_order_of_slices(tmp_path: Path) -> None:
    """Slices that were numbered from the top lie in the order of their places all the same."""
    down = np.diag([1.0, 1.0, -1.0])
    stored = _stored()
    affine = write_series(tmp_path, stored, down, SPACING)
    volume = _read(tmp_path)
    turned = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SHAPE[2] - 1], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.native.affine, turned, atol=1e-6)
    np.testing.assert_array_equal(volume.reorientation.invert(volume.array), stored[:, :, ::-1])


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "modality"),
    [
        ("int16", 1, 0, "CT"),
        ("uint16", 1, -1024, "CT"),
        ("uint16", 1, 0, "MR"),
        ("int16", 2, 100, "MR"),
        ("uint16", 0.25, 7.5, "MR"),
        ("int16", 0.001, -0.5, "CT"),
    ],
)
def test_rescale(dtype: str, slope: float, intercept: float, modality: str, tmp_path: Path) -> None:
    stored = _stored(dtype)
    if dtype == "uint16":
        stored[0, 0, 0] = 65535
    write_series(tmp_path, stored, UPRIGHT, SPACING, slope=slope, intercept=intercept, modality=modality)
    volume = _read(tmp_path)
    expected = stored * float(slope) + intercept
    np.testing.assert_allclose(volume.reorientation.invert(volume.array), expected, rtol=1e-6, atol=1e-6)
    whole = float(slope).is_integer() and float(intercept).is_integer()
    assert (volume.array.dtype.kind == "i" or volume.array.dtype == np.uint16) == whole


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    """As PET has it."""

    def change(ds: Any, k: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = f"{1 + k * 0.5}", f"{-k}"

    stored = _stored("uint16")
    write_series(tmp_path, stored, UPRIGHT, SPACING, change=change)
    expected = stored * (1 + np.arange(5) * 0.5) - np.arange(5)
    volume = _read(tmp_path)
    np.testing.assert_allclose(volume.reorientation.invert(volume.array), expected, rtol=1e-6)


def test_twelve_bits(tmp_path: Path) -> None:
    stored = _stored("uint16")
    write_series(tmp_path, stored, UPRIGHT, SPACING, intercept=-1024, BitsStored=12, HighBit=11)
    volume = _read(tmp_path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.reorientation.invert(volume.array), stored.astype(int) - 1024)


def test_compressed_slices(tmp_path: Path) -> None:
    from pydicom.uid import JPEGLSLossless, RLELossless

    stored = np.random.default_rng(0).integers(0, 3000, (32, 30, 3)).astype("uint16")
    for syntax in (RLELossless, JPEGLSLossless):
        folder = tmp_path / syntax.name.replace(" ", "")
        write_series(folder, stored, UPRIGHT, SPACING, intercept=-1024, BitsStored=12, HighBit=11)
        for path in folder.iterdir():
            ds = pydicom.dcmread(path)
            ds.compress(syntax)
            ds.save_as(path)
        volume = _read(folder)
        np.testing.assert_array_equal(volume.reorientation.invert(volume.array), stored.astype(int) - 1024)


def _remove(slices: tuple[int, ...]) -> Callable[[Any, int], None]:
    def change(ds: Any, k: int) -> None:
        if k in slices:
            ds.SeriesInstanceUID = "1.2.3"
            ds.Modality = "SEG"  # another object, which is not looked at

    return change


def _shift(ds: Any, by: tuple[float, float, float]) -> None:
    ds.ImagePositionPatient = [f"{p + b:.6f}" for p, b in zip(ds.ImagePositionPatient, by, strict=True)]


def _tilt(ds: Any, k: int) -> None:
    _shift(ds, (0.0, k * 3.0 * np.tan(np.deg2rad(12.0)), 0.0))


def _varying(ds: Any, k: int) -> None:
    _shift(ds, (0.0, 0.0, 0.4 * (k > 2)))


def _bent(ds: Any, k: int) -> None:
    _shift(ds, (0.3 * (k == 2), 0.0, 0.0))


def _twice(ds: Any, k: int) -> None:
    ds.ImagePositionPatient = ["0", "0", f"{3 * (k // 2)}"]
    ds.EchoTime = "4.6" if k % 2 else "9.2"


def _mixed(ds: Any, k: int) -> None:
    if k == 4:
        ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]


def _sizes(ds: Any, k: int) -> None:
    if k == 1:
        ds.Rows, ds.Columns = 3, 14


def _colour(ds: Any, k: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = ds.PixelData * 3


def _set(**tags: Any) -> Callable[[Any, int], None]:
    def change(ds: Any, k: int) -> None:
        if k == 2:
            for name, value in tags.items():
                delattr(ds, name) if value is None else setattr(ds, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_remove((2,)), r"expected slices every 3 mm, found 1 missing after IM\d+ \(at 313.00 mm\)"),
        (_remove((2, 3)), r"found 2 missing"),
        (_varying, r"equally far apart, found 3 to 3\.4 mm"),
        (_bent, r"straight row, found one 0\.3 mm off"),
        (_tilt, r"gantry tilt of 12\.0 degrees; undo the tilt first"),
        (_twice, r"one slice at each place.*EchoTime \((9\.2, 4\.6|4\.6, 9\.2)\).*2 such pairs.*time points"),
        (_mixed, r"one orientation, found 2: 4 slices along \[\[1.* 1 slices along"),
        (_sizes, r"slices of one Rows, found 3, 6"),
        (_set(PixelSpacing=["1", "1"]), r"slices of one PixelSpacing"),
        (_colour, r"found a colour image"),
        (_set(ImagePositionPatient=None), r"ImagePositionPatient: expected 3 numbers, found nothing in IM"),
        (_set(ImageOrientationPatient=None), r"ImageOrientationPatient: expected 6 numbers, found nothing"),
    ],
)
def test_slices_that_make_no_volume(change: Any, said: str, tmp_path: Path) -> None:
    write_series(tmp_path, _stored(), UPRIGHT, SPACING, change=change)
    with pytest.raises(DataError, match=said) as caught:
        _read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "series 3 (CT, " in str(caught.value)


def test_orientation_that_is_none(tmp_path: Path) -> None:
    write_series(tmp_path, _stored(), UPRIGHT, SPACING, ImageOrientationPatient=["1", "0", "0", "0.5", "0.5", "0"])
    with pytest.raises(DataError, match="two orthogonal unit vectors"):
        _read(tmp_path)


def test_positions_with_two_decimals_are_one_spacing(tmp_path: Path) -> None:
    def change(ds: Any, k: int) -> None:
        ds.ImagePositionPatient = ["0", "0", f"{k * 0.625:.2f}"]

    write_series(tmp_path, _stored(), UPRIGHT, (1, 1, 0.625), change=change)
    assert _read(tmp_path).native.spacing_mm == (1.0, 1.0, 0.625)


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    write_series(tmp_path / "one", _stored()[:, :, :1], UPRIGHT, SPACING)
    assert _read(tmp_path / "one").native.spacing_mm == SPACING
    write_series(tmp_path / "flat", _stored()[:, :, :1], UPRIGHT, SPACING, SliceThickness=None)
    with pytest.raises(DataError, match="two slices or more, or SliceThickness"):
        _read(tmp_path / "flat")


def test_copies_and_scouts_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = _stored()

    def change(ds: Any, k: int) -> None:
        if k == 0:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]

    write_series(tmp_path, stored, UPRIGHT, SPACING, change=change)
    path = next(p for p in sorted(tmp_path.iterdir()) if "AXIAL" in pydicom.dcmread(p).ImageType)
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "again.dcm").write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("not DICOM")
    volume = _read(tmp_path)
    np.testing.assert_array_equal(volume.reorientation.invert(volume.array), stored[:, :, 1:])
    assert "1 files are copies of others" in caplog.text


def test_of_several_series_one_is_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    small, large = _stored()[:, :, :3], _stored(seed=1)
    write_series(tmp_path / "a", small, UPRIGHT, SPACING, SeriesNumber=2, SeriesDescription="portal", modality="MR")
    write_series(tmp_path / "b", large, UPRIGHT, SPACING, SeriesNumber=9, SeriesDescription="thin")
    write_series(tmp_path / "c", large, UPRIGHT, SPACING, SeriesNumber=4, SeriesDescription="bone")
    found = find_series(tmp_path)
    assert [s.number for s in found] == [2, 4, 9]
    assert choose_series(tmp_path).number == 4, "the most slices, and the lower number"
    assert "series 4 'bone' (CT, 5 slices) is taken" in caplog.text
    assert all(s.uid in caplog.text for s in found if s.number != 4)
    assert choose_series(tmp_path, modality="MR").number == 2
    assert choose_series(tmp_path, uid=found[2].uid).number == 9
    with pytest.raises(DataError, match=r"found '1\.2\.3'; series 2 'portal' \(MR, 3 slices\): ") as caught:
        choose_series(tmp_path, uid="1.2.3")
    assert all(s.uid in str(caught.value) for s in found)


def test_a_model_of_another_modality_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(tmp_path, _stored(), UPRIGHT, SPACING, modality="MR")
    choose_series(tmp_path, modality="CT")
    assert "is read by a model of CT" in caplog.text


def test_what_is_no_series(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="found no slice of one"):
        _read(tmp_path)
    (tmp_path / "broken").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    with pytest.raises(DataError, match="broken: expected a whole DICOM file"):
        _read(tmp_path)


@pytest.mark.parametrize("cut", [1, 40, 400, 900])
def test_a_slice_that_was_cut_short(cut: int, tmp_path: Path) -> None:
    write_series(tmp_path, _stored(), UPRIGHT, SPACING)
    path = sorted(tmp_path.iterdir())[2]
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with pytest.raises(DataError, match=str(path)):
        _read(tmp_path)


def test_frames_in_one_file(tmp_path: Path) -> None:
    def change(ds: Any, k: int) -> None:
        ds.NumberOfFrames, ds.PixelData = 4, ds.PixelData * 4

    write_series(tmp_path, _stored()[:, :, :1], UPRIGHT, SPACING, change=change)
    with pytest.raises(DataError, match="found 4 frames in one; convert it: dcm2niix"):
        _read(tmp_path)


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    write_series(tmp_path / "a", _stored(), UPRIGHT, SPACING)
    first = choose_series(tmp_path / "a").digest()
    for path in list((tmp_path / "a").iterdir()):
        path.rename(path.with_name(f"x{path.name}"))
    assert choose_series(tmp_path / "a").digest() == first
    path = next((tmp_path / "a").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert choose_series(tmp_path / "a").digest() != first
