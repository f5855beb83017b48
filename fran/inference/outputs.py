"""Files that a label map is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fran.errors import ConfigError, choices
from fran.geometry import Grid
from fran.inference.inputs import DicomImage, Image
from fran.io.volume import write_label_map

if TYPE_CHECKING:
    from pydicom import Dataset

DICOMSEG = "dicomseg"
#: Ending of each format.
FORMATS = {
    **{"nii.gz": ".nii.gz", "nii": ".nii", "nrrd": ".nrrd", "mha": ".mha", "seg.nrrd": ".seg.nrrd"},
    DICOMSEG: ".dcm",
}


def check_format(output_format: str | None, images: Sequence[Image]) -> None:
    """Refuse what cannot be written, before any work.

    Raises:
        ConfigError: no such format, or DICOM SEG of images that are no DICOM series, or without highdicom.
    """
    if output_format is not None and output_format not in FORMATS:
        raise ConfigError(f"format: found '{output_format}'; {choices(output_format, list(FORMATS))}")
    if output_format != DICOMSEG:
        return
    from fran.io.dicom_seg import check_installed

    other = next((image for image in images if not isinstance(image, DicomImage)), None)
    if other is not None:
        raise ConfigError(f"format: dicomseg refers to a DICOM series, and {other.path} is none; use nii.gz")
    check_installed()


def ending_of(image: Image, output_format: str | None) -> str:
    """Ending of an image's label map."""
    return image.ending if output_format is None else FORMATS[output_format]


def write_output(
    path: Path,
    array: NDArray[Any],
    native: Grid,
    names: Mapping[int, str],
    headers: Sequence[Dataset] = (),
    models: str = "",
) -> None:
    """Write a label map, in the format that the ending says.

    Args:
        path: file to write.
        array: (x, y, z) label values in RAS+ order.
        native: grid of the image.
        names: of the labels.
        headers: of the source series, for DICOM SEG.
        models: names of the runs, for DICOM SEG.
    """
    if path.name.endswith(FORMATS[DICOMSEG]):
        from fran.io.dicom_seg import write_dicom_seg

        write_dicom_seg(path, array, native, names, headers, models)
    else:
        write_label_map(path, array, native, names)
