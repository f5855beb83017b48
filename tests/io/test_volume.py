"""Reading and writing: conventions against nibabel and SimpleITK, and every way a file can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from fran.errors import DataError, GeometryError
from fran.geometry import Grid
from fran.io.volume import read_native_grid, read_volume, stem, write_label_map

SHAPE = (6, 7, 9)
#: slice axis first, tilted, anisotropic
AFFINE = np.array([[0.0, -0.78, 0.05, 40], [0.1, 0.04, 0.98, -60], [-3.0, 0.0, 0.03, 900], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (-3.0, 0.8, 0.9)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.int16)


@pytest.fixture
def nifti(tmp_path: Path, image: np.ndarray) -> Path:
    path = tmp_path / "kits_1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), path)
    return path


def test_a_nifti_is_read_like_nibabel_reads_it(nifti: Path) -> None:
    volume = read_volume(nifti)
    expected = nibabel.as_closest_canonical(nibabel.load(nifti))
    np.testing.assert_array_equal(volume.array, np.asarray(expected.dataobj))
    np.testing.assert_allclose(volume.grid.affine, expected.affine, atol=1e-5)
    assert volume.grid.orientation == "RAS"
    assert volume.native.shape == SHAPE
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(read_native_grid(nifti).affine, volume.native.affine)


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".nii"])
def test_formats_agree(nifti: Path, tmp_path: Path, extension: str) -> None:
    other = tmp_path / f"kits_1{extension}"
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(other))
    first, second = read_volume(nifti), read_volume(other)
    np.testing.assert_array_equal(first.array, second.array)
    assert first.grid.allclose(second.grid, 1e-3)
    assert read_native_grid(other).allclose(second.native, 1e-6)


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_label_map_goes_back_to_the_grid_it_came_from(nifti: Path, tmp_path: Path, extension: str) -> None:
    volume = read_volume(nifti)
    lm = np.random.default_rng(1).integers(0, 4, volume.array.shape).astype(np.uint8)
    out = tmp_path / "out" / f"kits_1{extension}"
    write_label_map(out, lm, volume.native, {1: "kidney"})
    back = read_volume(out, role="lm")
    np.testing.assert_array_equal(back.array, lm)
    assert back.native.allclose(volume.native, 1e-3)
    assert back.native.orientation == volume.native.orientation
    theirs = sitk.ReadImage(str(out))
    assert theirs.GetSize() == SHAPE
    np.testing.assert_allclose(theirs.GetSpacing(), sitk.ReadImage(str(nifti)).GetSpacing(), atol=1e-5)
    assert [p.name for p in out.parent.iterdir()] == [out.name], "temporary files are left"


def test_header_scaling_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "a_1.nii.gz"
    scaled = nibabel.Nifti1Image(np.arange(210, dtype=np.int16).reshape(5, 6, 7), np.eye(4))
    scaled.header.set_slope_inter(0.5, -1024)
    nibabel.save(scaled, path)
    np.testing.assert_allclose(read_volume(path).array, nibabel.load(path).get_fdata(), atol=1e-3)


def damage(name: str, path: Path) -> None:
    content = path.read_bytes()
    if name == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif name == "bit flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x40]) + content[middle + 1 :])
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "lfs":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    elif name == "text":
        path.write_bytes(gzip.compress(b"hello, this is no image" * 40))
    elif name == "directory":
        path.unlink()
        path.mkdir()
    elif name == "missing":
        path.unlink()
    elif name == "dangling link":
        path.unlink()
        path.symlink_to(path.parent / "nowhere.nii.gz")
    elif name == "link loop":
        path.unlink()
        path.symlink_to(path)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("truncated", "truncated or corrupt"),
        ("bit flipped", "truncated or corrupt"),
        ("empty", "0 bytes"),
        ("lfs", "git lfs pull"),
        ("text", "found a gzip stream of a text file"),
        ("directory", "found a directory"),
        ("missing", "found nothing"),
        ("dangling link", "link to a file that is not there"),
        ("link loop", "leads back to itself"),
    ],
)
def test_damaged_files_are_refused_in_words(nifti: Path, fault: str, words: str) -> None:
    damage(fault, nifti)
    with pytest.raises(DataError, match=words) as caught:
        read_volume(nifti)
    assert str(nifti) in str(caught.value)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((30000, 30000, 30000))
    path = tmp_path / "bomb_1.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(68)))
    with pytest.raises(DataError, match="54000000000000 bytes that its header claims"):
        read_volume(path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5), np.uint8), "2-D"),
        (np.zeros((4, 5, 6, 2), np.uint8), "4-D"),
        (np.zeros((4, 5, 6), np.complex64), "complex"),
        (np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
        (np.full((4, 5, 6), np.nan, np.float32), "120 of 120 voxels NaN"),
    ],
)
def test_other_than_one_real_volume_is_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    path = tmp_path / "a_1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    with pytest.raises(DataError, match=words):
        read_volume(path)


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a_1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6, 1), np.uint8), np.eye(4)), path)
    assert read_volume(path).array.shape == (4, 5, 6)


def test_a_sheared_affine_is_refused(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), None)
    image.set_sform(sheared, code=1)
    path = tmp_path / "a_1.nii.gz"
    nibabel.save(image, path)
    with pytest.raises(GeometryError, match=r"a_1\.nii\.gz: affine"):
        read_volume(path)


@pytest.mark.parametrize(
    ("values", "dtype", "words"),
    [
        ([0, 1.5], np.float32, r"1 voxels such as .*1.5"),
        ([0, -1], np.int16, "-1 in 1 voxels"),
        ([0, 70000], np.int32, "found up to 70000"),
    ],
)
def test_label_maps_keep_their_values_or_are_refused(tmp_path: Path, values: list, dtype: type, words: str) -> None:  # type: ignore[type-arg]
    path = tmp_path / "a_1.nii.gz"
    array = np.zeros((4, 5, 6), dtype)
    array[1, 2, 3] = values[1]
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    with pytest.raises(DataError, match=words):
        read_volume(path, role="lm")


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (300, np.uint16)])
def test_label_maps_get_the_smallest_type_that_holds_them(tmp_path: Path, value: int, dtype: type) -> None:
    path = tmp_path / "a_1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 6), value, np.float32), np.eye(4)), path)
    lm = read_volume(path, role="lm").array
    assert lm.dtype == dtype
    assert (lm == value).all()


def test_a_label_map_that_does_not_fit_its_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected native shape"):
        write_label_map(tmp_path / "a_1.nii.gz", np.zeros((3, 3, 3), np.uint8), Grid((4, 3, 3), np.eye(4)))
    assert not list(tmp_path.iterdir())


def test_stem_takes_off_known_endings_only() -> None:
    assert [stem(n) for n in ("a_1.nii.gz", "a_1.v2.nrrd", "a_1.txt")] == ["a_1", "a_1.v2", "a_1.txt"]


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_hundred_label_names_fit_into_every_header(tmp_path: Path, extension: str) -> None:
    lm = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    path = tmp_path / f"a_1{extension}"
    write_label_map(
        path, lm, Grid((4, 5, 6), np.eye(4)), {v: f"a_rather_long_structure_name_{v}" for v in range(1, 118)}
    )
    np.testing.assert_array_equal(read_volume(path, role="lm").array, lm)
    assert read_native_grid(path).shape == (4, 5, 6)
