"""DICOM SEG and 3D Slicer's segmentations, read back by highdicom, by pydicom alone and by SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fran.errors import DataError
from fran.geometry import Grid
from fran.io.dicom import choose_series, headers, read_series
from fran.io.dicom_seg import write_dicom_seg
from fran.io.volume import read_volume, write_label_map
from fran.labels.colours import COLOURS, colour_of
from tests.dicom_series import write_series

hd = pytest.importorskip("highdicom")

SHAPE = (9, 6, 5)  # columns, rows, slices
OBLIQUE = np.linalg.qr(np.array([[0.1, 0.9, 0.2], [-1.0, 0.2, 0.1], [0.1, 0.2, -1.0]]))[0]
OBLIQUE[:, 2] = np.cross(OBLIQUE[:, 0], OBLIQUE[:, 1])


@pytest.fixture
def series(tmp_path: Path) -> tuple[Any, Any]:
    stored = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    write_series(tmp_path / "patient7", stored, OBLIQUE, (0.8, 1.2, 3.0))
    return read_series(choose_series(tmp_path / "patient7"), tmp_path / "patient7")


def _native(labels: list[int]) -> np.ndarray:
    """Label map with one slice and one label left out, in the series' own order."""
    lm = np.random.default_rng(1).choice([0, *labels[:-1]], SHAPE).astype(np.uint8)
    lm[:, :, 1] = 0
    return lm


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({1: "kidney", 2: "tumour\n of\\the kidney", 3: "cyst"}, "BINARY"),
        ({3: "kidney", 117: "rib", 200: ""}, "LABELMAP"),
    ],
)
def test_a_seg_is_the_label_map(names: dict[int, str], kind: str, series: tuple[Any, Any], tmp_path: Path) -> None:
    volume, chosen = series
    lm = _native(list(names))
    path = tmp_path / "out" / "patient7.dcm"
    write_dicom_seg(path, volume.reorientation.apply(lm), volume.native, names, headers(chosen), "plan1-dynunet-f0-1")
    seg = hd.seg.segread(path)
    assert seg.SegmentationType == kind
    assert list(seg.segment_numbers) == list(names)
    described = [d for d in seg.SegmentSequence if d.SegmentNumber]  # a label map describes its background, too
    assert [d.SegmentLabel for d in described] == [
        " ".join(name.replace("\\", "/").split()) or f"label_{value}" for value, name in names.items()
    ]
    for value, segment in zip(names, described, strict=True):
        red, green, blue = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
        assert np.allclose(np.array([red, green, blue]) / 255, colour_of(value), atol=0.02)
    uids = [str(s.tags.SOPInstanceUID) for s in chosen.slices]
    back = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(back.transpose(2, 1, 0), lm)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == chosen.uid
    first = pydicom.dcmread(next((tmp_path / "patient7").iterdir()))
    for tag in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[tag].value == first[tag].value
    assert seg.SeriesInstanceUID != chosen.uid
    assert [p.name for p in path.parent.iterdir()] == ["patient7.dcm"]


def test_places_of_the_frames(series: tuple[Any, Any], tmp_path: Path) -> None:
    """The same by pydicom alone: each frame is a slice of one segment, at the place of the slice it refers to."""
    volume, chosen = series
    lm = _native([1, 2, 3])
    path = tmp_path / "patient7.dcm"
    write_dicom_seg(
        path, volume.reorientation.apply(lm), volume.native, {1: "a", 2: "b", 3: "c"}, headers(chosen), "one"
    )
    seg = pydicom.dcmread(path)
    places = {str(s.tags.SOPInstanceUID): (k, list(s.tags.ImagePositionPatient)) for k, s in enumerate(chosen.slices)}
    found = np.zeros(SHAPE, np.uint8)
    shared = seg.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, [1.2, 0.8])
    assert float(shared.PixelMeasuresSequence[0].SliceThickness) == 3.0
    np.testing.assert_allclose(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, OBLIQUE[:, :2].T.ravel(), atol=1e-6
    )
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        k, place = places[str(source)]
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, place, atol=1e-4)
        found[:, :, k] += frame.T * group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    np.testing.assert_array_equal(found, lm)
    assert len(seg.PerFrameFunctionalGroupsSequence) == 8, "empty slices and segments take no frame"


def test_an_anonymised_series_will_do_and_one_without_a_frame_will_not(tmp_path: Path) -> None:
    def strip(ds: Any, k: int) -> None:
        for tag in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "PatientSex"):
            delattr(ds, tag)

    def without_frame(ds: Any, k: int) -> None:
        del ds.FrameOfReferenceUID

    for change in (strip, without_frame):
        folder = tmp_path / change.__name__
        write_series(folder, np.zeros(SHAPE, np.int16), np.eye(3), (1, 1, 2), change=change)
        volume, chosen = read_series(choose_series(folder), folder)
        given = tmp_path / "a.dcm", np.ones(SHAPE, np.uint8), volume.native, {1: "a"}, headers(chosen), "one"
        if change is strip:
            write_dicom_seg(*given)
            assert hd.seg.segread(given[0]).pixel_array.all()
        else:
            with pytest.raises(DataError, match="expected a series with FrameOfReferenceUID"):
                write_dicom_seg(*given)


def test_slicer_knows_the_segments(tmp_path: Path) -> None:
    names = {3: "kidney", 117: "tumour:\n=of it", **{v: f"a_rather_long_structure_name_{v}" for v in range(120, 255)}}
    lm = np.random.default_rng(0).choice([0, 3, 117, 254], (4, 5, 6)).astype(np.uint8)
    path = tmp_path / "kits_1.seg.nrrd"
    write_label_map(path, lm, Grid((4, 5, 6), np.diag([-1.0, 2.0, 3.0, 1.0])), names)
    image = sitk.ReadImage(path)
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    segments = [n for n in range(999) if f"Segment{n}_ID" in header]
    assert len(segments) == len(names)
    found = {
        int(header[f"Segment{n}_LabelValue"]): (header[f"Segment{n}_Name"], header[f"Segment{n}_Color"])
        for n in segments
    }
    assert found[3] == ("kidney", "0.0000 0.6196 0.4510")
    assert found[117][0] == "tumour: =of it"
    assert header["Segment0_Extent"] == "0 3 0 4 0 5"
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"
    np.testing.assert_array_equal(read_volume(path, role="lm").array, lm)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    with pytest.raises(DataError, match="truncated or corrupt"):
        read_volume(path, role="lm")


def test_nifti_names_and_colours(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.nii.gz", np.ones((2, 3, 4), np.uint8), Grid((2, 3, 4), np.eye(4)), {1: "a<b", 9: "c"})
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header.get_intent()[0] == "label"
    (table,) = [e.content for e in header.extensions if e.get_code() == 30]
    rows = list(ElementTree.fromstring(table).iter("Label"))
    assert [(row.get("Key"), row.text) for row in rows] == [("1", "a<b"), ("9", "c")]
    assert float(rows[0].get("Red", "")) == pytest.approx(int(COLOURS[0][1:3], 16) / 255, abs=1e-3)


def test_colours_differ() -> None:
    colours = [colour_of(value) for value in range(1, 121)]
    assert all(0 <= c <= 1 for colour in colours for c in colour)
    apart = [np.abs(np.subtract(a, b)).max() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 0.02
