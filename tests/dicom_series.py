"""DICOM series as scanners write them, made by pydicom from volumes that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

Change = Callable[[FileDataset, int], None]


def write_series(
    folder: Path,
    stored: NDArray[Any],
    axes: NDArray[Any],
    spacing: Sequence[float],
    origin: Sequence[float] = (-41.5, 12.25, 310.0),
    slope: float = 1.0,
    intercept: float = 0.0,
    modality: str = "CT",
    change: Change | None = None,
    **tags: Any,
) -> NDArray[np.float64]:
    """Write one file a slice, under names that say nothing about their order.

    Args:
        folder: for the files.
        stored: (columns, rows, slices) stored values, int16 or uint16.
        axes: (3, 3), its columns the directions in which columns, rows and slices grow, in DICOM's LPS frame.
        spacing: between columns, rows and slices in mm.
        origin: of the first voxel, LPS.
        slope, intercept: of the rescale.
        modality: CT or MR.
        change: called with each slice's dataset and its number before it is written.
        tags: further tags by keyword, the same in each slice.

    Returns:
        The (4, 4) affine of `stored`, voxel to mm in RAS+.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = (generate_uid() for _ in range(3))
    columns, rows, n = stored.shape
    names = np.random.default_rng(n).permutation(n)
    for k in range(n):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 3, n - k
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jane", "P7", "", "O"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260102", "101112", "1", ""
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = int(stored.dtype.kind == "i")
        ds.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]  # between rows, then between columns
        ds.SliceThickness = _ds(spacing[2])
        ds.ImageOrientationPatient = [_ds(c) for c in (*axes[:, 0], *axes[:, 1])]
        ds.ImagePositionPatient = [_ds(c) for c in np.array(origin) + k * spacing[2] * axes[:, 2]]
        ds.RescaleSlope, ds.RescaleIntercept = _ds(slope), _ds(intercept)
        for name, value in tags.items():
            setattr(ds, name, value)
        ds.PixelData = np.ascontiguousarray(stored[:, :, k].T).tobytes()
        if change is not None:
            change(ds, k)
        ds.save_as(folder / f"IM{names[k]:04d}", enforce_file_format=True)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * np.array(spacing), origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _ds(value: float) -> pydicom.valuerep.DSfloat:
    return pydicom.valuerep.DSfloat(float(value), auto_format=True)
