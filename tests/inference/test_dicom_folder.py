"""DICOM series in, label maps out: the voxels that the same volume as NIfTI gives, in every format."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from fran.errors import CasesFailed, ConfigError, DataError
from fran.inference.folder import predict_folder
from fran.inference.inputs import find_images
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from tests.dicom_series import write_series

SHAPE = (7, 6, 5)
SPACING = (1.2, 0.8, 3.0)
AXES = np.diag([1.0, -1.0, 1.0])
AXES[:, 2] = np.cross(AXES[:, 0], AXES[:, 1])


@pytest.fixture
def predictor(make_model: Callable[..., ModelFile]) -> Predictor:
    return Predictor([make_model(spacing=list(SPACING))], "cpu")


def _stored(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-200, 600, SHAPE).astype(np.int16)


def _zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"export/{file.name}")
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_a_series_is_predicted_on_its_own_grid(
    zipped: bool, predictor: Predictor, rule: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    source = tmp_path / "patient7"
    affine = write_series(source, _stored(), AXES, SPACING)
    given = _zip(source, tmp_path / "patient7.zip") if zipped else source
    report = predict_folder(predictor, given, tmp_path / "out", progress=False, scratch=tmp_path)
    assert report.n_predicted == 1
    image = nibabel.load(tmp_path / "out" / "patient7.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), rule(_stored()))
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    record = json.loads((tmp_path / "out" / "patient7.json").read_text())
    assert record["input"]["path"] == str(given)
    series = record["input"]["series"]
    assert (series["number"], series["modality"], series["slices"]) == (3, "CT", 5)
    assert "Doe" not in json.dumps(record)
    assert predict_folder(predictor, given, tmp_path / "out", progress=False).n_skipped == 1
    assert not list(tmp_path.glob("fran-*")), "what was unpacked is gone"
    with pytest.raises(CasesFailed, match="other image" if zipped else "found '1.2.3'"):
        predict_folder(predictor, given, tmp_path / "out", progress=False, series="1.2.3")
    if not zipped:
        file = next(source.iterdir())
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CasesFailed, match="other image"):
            predict_folder(predictor, given, tmp_path / "out", progress=False)


def test_folders_of_series_and_one_that_is_none(
    predictor: Predictor, rule: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    for number in range(3):
        change = (lambda ds, k: setattr(ds, "Rows", 5 + k)) if number == 1 else None
        write_series(tmp_path / "in" / f"p{number}" / "study" / "CT", _stored(number), AXES, SPACING, change=change)
    (tmp_path / "in" / "notes").mkdir()
    with pytest.raises(CasesFailed, match=r"1 of 3 cases failed \(2 predicted[\s\S]*slices of one Rows"):
        predict_folder(predictor, tmp_path / "in", tmp_path / "out", progress=False)
    for number in (0, 2):
        found = np.asarray(nibabel.load(tmp_path / "out" / f"p{number}.nii.gz").dataobj)
        np.testing.assert_array_equal(found, rule(_stored(number)))


def test_dicom_seg(make_model: Callable[..., ModelFile], rule: Callable[..., np.ndarray], tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom")
    predictor = Predictor(
        [make_model(spacing=list(SPACING), labels={"values": [1, 2], "names": {"1": "kidney"}})], "cpu"
    )
    write_series(tmp_path / "patient7", _stored(), AXES, SPACING)
    for given in (tmp_path / "patient7", _zip(tmp_path / "patient7", tmp_path / "patient8.zip")):
        predict_folder(predictor, given, tmp_path / "out", progress=False, output_format="dicomseg")
        seg = hd.seg.segread(tmp_path / "out" / f"{given.stem}.dcm")
        assert [s.SegmentLabel for s in seg.SegmentSequence] == ["kidney", "label_2"]
        assert seg.SegmentSequence[0].SegmentAlgorithmName == "run1"
        slices = sorted(
            (pydicom.dcmread(p) for p in (tmp_path / "patient7").iterdir()), key=lambda s: -s.InstanceNumber
        )
        found = seg.get_pixels_by_source_instance([s.SOPInstanceUID for s in slices], combine_segments=True)
        expected = np.select([rule(_stored()) == 3, rule(_stored()) == 117], [1, 2])
        np.testing.assert_array_equal(found.transpose(2, 1, 0), expected)
        assert (tmp_path / "out" / f"{given.stem}.json").is_file()
    again = predict_folder(predictor, tmp_path / "patient7", tmp_path / "out", progress=False, output_format="dicomseg")
    assert again.n_skipped == 1
    nibabel.save(nibabel.Nifti1Image(_stored(), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ConfigError, match=r"dicomseg refers to a DICOM series, and .*a\.nii\.gz is none"):
        predict_folder(predictor, tmp_path / "a.nii.gz", tmp_path / "out", progress=False, output_format="dicomseg")


def test_what_is_an_image(tmp_path: Path) -> None:
    write_series(tmp_path / "p1", _stored(), AXES, SPACING)
    slice_file = next((tmp_path / "p1").iterdir())
    with pytest.raises(DataError, match="one slice of a DICOM series; name the folder"):
        find_images(slice_file)
    (tmp_path / "p1" / "DICOMDIR").write_bytes(slice_file.read_bytes())
    assert [i.name for i in find_images(tmp_path / "p1")] == ["p1"]
    (tmp_path / "list.txt").write_text("p1\n")
    assert [i.name for i in find_images(tmp_path / "list.txt")] == ["p1"]
    (tmp_path / "p1" / "a.nii.gz").touch()
    with pytest.raises(DataError, match=r"holds DICOM slices and also a\.nii\.gz"):
        find_images(tmp_path / "p1")


def test_the_output_is_no_folder_of_slices(predictor: Predictor, tmp_path: Path) -> None:
    write_series(tmp_path / "p1", _stored(), AXES, SPACING)
    with pytest.raises(ConfigError, match="holds the image p1 itself"):
        predict_folder(predictor, tmp_path / "p1", tmp_path / "p1" / "out", progress=False)


@pytest.mark.parametrize("name", ["../evil", "/tmp/fran-evil", "a\\..\\evil"])
def test_a_zip_that_leads_elsewhere(name: str, predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "in" / "p1.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.filename = info.orig_filename = name
        archive.writestr(info, b"x")
    with pytest.raises(CasesFailed, match="names inside the archive"):
        predict_folder(predictor, path, tmp_path / "out", progress=False, scratch=tmp_path)
    assert not list(tmp_path.rglob("*evil*"))
    path.write_bytes(b"no zip")
    with pytest.raises(CasesFailed, match="whole zip file"):
        predict_folder(predictor, [path], tmp_path / "out", progress=False)
