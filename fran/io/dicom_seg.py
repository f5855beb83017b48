"""Label maps as DICOM Segmentation objects that refer to the slices of their series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fran
from fran.errors import ConfigError, DataError
from fran.geometry import Grid, reorientation_to_ras
from fran.io.files import atomic_path
from fran.labels.colours import colour_of

if TYPE_CHECKING:
    from pydicom import Dataset

_LO = 64  # characters of a DICOM long string
#: Attributes that a SEG copies from its series and that anonymised series may lack.
_COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    "StudyTime",
)


def check_installed() -> None:
    """Refuse where highdicom is missing.

    Raises:
        ConfigError: it is.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise ConfigError("format: dicomseg needs highdicom: pip install 'fran[dicom]', or use nii.gz") from error


def write_dicom_seg(
    path: Path,
    array: NDArray[Any],
    native: Grid,
    names: Mapping[int, str],
    headers: Sequence[Dataset],
    models: str,
) -> None:
    """Write a label map as DICOM SEG, atomically. Segment numbers are label values.

    Values 1, 2, … n are written as a binary segmentation, which every viewer reads. That type must number its segments
    without gaps, so values with gaps are written as a label map segmentation (DICOM supplement 243).

    Args:
        path: file to write.
        array: (x, y, z) label values in RAS+ order.
        native: grid of the series.
        names: of all labels that there may be.
        headers: of each slice along the native z axis.
        models: names of the runs that made it.

    Raises:
        DataError: the series lacks what a SEG must refer to.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    lacking = [k for k in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID") if not headers[0].get(k)]
    if lacking:
        text = f"expected a series with {', '.join(lacking)}, to which a DICOM SEG must refer, found none"
        raise DataError(f"{path}: {text}; use format=nii.gz")
    for header in headers:
        for name in _COPIED:
            if name not in header:
                setattr(header, name, "")
    stored = reorientation_to_ras(native.affine).invert(array).transpose(2, 1, 0)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=_text(models) or "fran",
        family=codes.DCM.ArtificialIntelligence,
        version=fran.__version__,
        source="fran",
    )
    values = sorted(names)
    segmentation = hd.seg.Segmentation(
        source_images=headers,
        pixel_array=np.ascontiguousarray(stored),
        segmentation_type="BINARY" if values == list(range(1, len(values) + 1)) else "LABELMAP",
        segment_descriptions=[_described(value, names[value], algorithm) for value in values],
        series_instance_uid=hd.UID(),
        series_number=int(headers[0].get("SeriesNumber") or 0) % 10_000 + 10_000,
        series_description=_text(f"fran: {models}"),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="fran",
        manufacturer_model_name="fran",
        device_serial_number="0",
        software_versions=fran.__version__,
        content_label="FRAN",
        content_description=_text(f"label map of {models}"),
    )
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _described(value: int, name: str, algorithm: Any) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    label = _text(name) or f"label_{value}"
    return hd.seg.SegmentDescription(
        segment_number=value,
        segment_label=label,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        # names are the project's own, so they are codes of fran's own, too
        segmented_property_type=hd.sr.CodedConcept(str(value), "99FRAN", label),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*(round(255 * c) for c in colour_of(value))),
    )


def _text(text: str) -> str:
    """One line that a DICOM long string holds."""
    return " ".join(text.replace("\\", "/").split())[:_LO]
