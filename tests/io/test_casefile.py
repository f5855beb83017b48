from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fran.errors import StoreError
from fran.io.casefile import CaseMeta, CaseReader, write_case

SHAPE = (70, 41, 9)


def make_meta(case_id: str = "a1") -> CaseMeta:
    affine = ((0.8, 0.0, 0.0, -3.5), (0.0, 0.9, 0.0, 4.0), (0.0, 0.0, 2.5, 7.25), (0.0, 0.0, 0.0, 1.0))
    return CaseMeta(
        case_id=case_id,
        key="f00d",
        shape=SHAPE,
        affine=affine,
        spacing_mm=(0.8, 0.9, 2.5),
        slope=1.0,
        inter=0.0,
        modality="CT",
        labels={1: 24, 300: 1},
        intensity={"mean": 1.5, "std": 2.0, "min": -3.0, "max": 9.0, "p005": -2.0, "p995": 8.0},
        geometry={"native": {"shape": [70, 41, 9], "affine": [list(row) for row in affine]}},
        bboxes={1: ((2, 3, 4), (4, 6, 8)), 300: ((69, 40, 8), (70, 41, 9))},
    )


def make_arrays() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(-1024, 3000, SHAPE).astype(np.int16)
    lm = np.zeros(SHAPE, np.uint16)
    lm[2:4, 3:6, 4:8] = 1
    lm[69, 40, 8] = 300
    return image, lm


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "a1.h5"
    image, lm = make_arrays()
    write_case(path, image, lm, make_meta(), {300: np.array([[69, 40, 8]]), 1: np.array([[2, 3, 4], [3, 5, 7]])})
    return path


def padded_reference(start: tuple[int, int, int], size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    image, lm = make_arrays()
    far = [(200, 200)] * 3
    box = tuple(slice(a + 200, a + 200 + n) for a, n in zip(start, size, strict=True))
    return np.pad(image, far, constant_values=image.min())[box], np.pad(lm, far)[box]


def test_everything_comes_back(written: Path) -> None:
    with CaseReader(written) as reader:
        image, lm = reader.read_all()
        assert reader.meta == make_meta()
        assert reader.shape == SHAPE
        assert image.dtype == np.int16 and lm.dtype == np.uint16
        np.testing.assert_array_equal(image, make_arrays()[0])
        np.testing.assert_array_equal(lm, make_arrays()[1])
        assert reader.fg_indices(1).tolist() == [[2, 3, 4], [3, 5, 7]]
        assert reader.fg_indices(1).dtype == np.int16
        assert reader.fg_indices(2).shape == (0, 3)
        reader.verify()


@pytest.mark.parametrize(
    ("start", "size"),
    [
        ((3, 4, 1), (60, 30, 5)),
        ((-4, -5, -6), (12, 60, 20)),
        ((60, 35, 5), (20, 9, 8)),
        ((-50, 0, 0), (20, 9, 8)),
        ((90, 50, 30), (5, 6, 7)),
        ((-10, -10, -10), (120, 70, 40)),
    ],
)
def test_crops_are_padded_where_they_leave_the_volume(
    written: Path, start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    image, lm = CaseReader(written).read(start, size)
    expected_image, expected_lm = padded_reference(start, size)
    np.testing.assert_array_equal(image, expected_image)
    np.testing.assert_array_equal(lm, expected_lm)
    assert image.dtype == np.int16 and lm.dtype == np.uint16


def test_same_input_same_bytes(tmp_path: Path, written: Path) -> None:
    image, lm = make_arrays()
    again = tmp_path / "again.h5"
    indices = {1: np.array([[2, 3, 4], [3, 5, 7]], np.int32), 300: np.array([[69, 40, 8]])}
    write_case(again, np.asfortranarray(image), lm, make_meta(), indices)
    assert again.read_bytes() == written.read_bytes()


def test_hundreds_of_labels_fit(tmp_path: Path) -> None:
    image, lm = make_arrays()
    boxes = dict.fromkeys(range(1, 3000), ((0, 0, 0), (1, 2, 3)))
    meta = replace(make_meta(), bboxes=boxes, labels=dict.fromkeys(boxes, 6))
    write_case(tmp_path / "many.h5", image, lm, meta, {})
    assert CaseReader(tmp_path / "many.h5").meta == meta


def test_an_open_reader_goes_to_other_processes(written: Path) -> None:
    reader, box = CaseReader(written), ((1, 2, 3), (9, 8, 6))
    expected = reader.read(*box)[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(*box)[0], expected)
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply(reader.read, box)[0], expected)
    np.testing.assert_array_equal(reader.read(*box)[0], expected)


@pytest.mark.parametrize("keep", [0, 100, 3000, -1])
def test_truncated_file_is_named(written: Path, keep: int) -> None:
    written.write_bytes(written.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"a1\.h5.*fran preprocess"):
        CaseReader(written).read_all()


def chunk_bytes(path: Path, name: str) -> tuple[int, int]:
    """First byte and size of the volume's first chunk."""
    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(0)
    return info.byte_offset, info.size


@pytest.mark.parametrize("name", ["image", "lm"])
def test_changed_bytes_of_voxels_are_found_by_verify(written: Path, name: str) -> None:
    first, size = chunk_bytes(written, name)
    data = bytearray(written.read_bytes())
    data[first + size - 1] ^= 0x55
    written.write_bytes(data)
    with pytest.raises(StoreError, match=r"a1\.h5.*fran preprocess"):
        CaseReader(written).verify()


@pytest.mark.parametrize("place", [4, 12])
def test_a_chunk_that_claims_another_size_is_not_decompressed(written: Path, place: int) -> None:
    first, _ = chunk_bytes(written, "image")
    data = bytearray(written.read_bytes())
    data[first + place : first + place + 4] = (1 << 30).to_bytes(4, "little")
    written.write_bytes(data)
    with pytest.raises(StoreError, match=r"a1\.h5.*a chunk of"):
        CaseReader(written).read_all()


def test_a_replaced_file_is_read_anew(written: Path) -> None:
    reader = CaseReader(written)
    before = reader.read_all()[0]
    image, lm = make_arrays()
    write_case(written, (image // 3).astype(np.int16), lm, replace(make_meta(), key="beef"), {})
    np.testing.assert_array_equal(reader.read_all()[0], before)  # the old file, as long as it is open
    reader.close()
    np.testing.assert_array_equal(reader.read_all()[0], image // 3)
    assert reader.meta.key == "beef"
    assert reader.fg_indices(1).size == 0


def test_files_of_the_first_format_are_named_and_not_misread(written: Path) -> None:
    with h5py.File(written, "a") as file:
        file.attrs["format"] = 1
    with pytest.raises(StoreError, match=r"format 1, of another version of fran, instead of 2.*fran preprocess"):
        CaseReader(written).read_all()


def test_without_samples_the_file_has_no_such_part(tmp_path: Path) -> None:
    image, lm = make_arrays()
    write_case(tmp_path / "none.h5", image, lm, make_meta(), {})
    with h5py.File(tmp_path / "none.h5") as file:
        assert set(file) == {"image", "lm", "meta"}


def test_half_precision_comes_back_as_it_was(tmp_path: Path) -> None:
    image, lm = make_arrays()
    half = (image * 0.37).astype(np.float16)
    write_case(tmp_path / "half.h5", half, lm, make_meta(), {})
    with CaseReader(tmp_path / "half.h5") as reader:
        reader.verify()
        stored, _ = reader.read((-1, 0, 0), (72, 41, 9))
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored[1:71], half)
    assert (stored[0] == half.min()).all() and (stored[71] == half.min()).all()


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing"):
        CaseReader(tmp_path / "no.h5").read_all()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["image"] = np.zeros((2, 2))
    with pytest.raises(StoreError, match=r"foreign\.h5"):
        CaseReader(tmp_path / "foreign.h5").read_all()
