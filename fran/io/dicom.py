"""DICOM series: one file a slice, in a folder, as one volume.

Tags are read by pydicom, voxels by SimpleITK (GDCM), which unpacks the usual compressions and applies each slice's own
rescale slope and intercept. The grid comes from orientation and position of every slice, never from their order, their
numbers or the slice thickness; slices that do not make one regular grid are refused with the reason.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import DataError
from fran.io.files import file_digest
from fran.io.volume import Volume, as_image, unreadable, volume_of

if TYPE_CHECKING:
    from pydicom import Dataset

log = logging.getLogger(__name__)

#: Objects that hold no image of the patient, though some have rows and columns.
_NO_IMAGES = ("SEG", "SR", "PR", "KO", "DOC", "PLAN", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD")
_TAGS = (
    *("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PixelSpacing"),
    *("ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "SpacingBetweenSlices", "InstanceNumber"),
)
#: What tells apart slices that lie at one place.
_APART = (
    *("TemporalPositionIdentifier", "EchoTime", "EchoNumbers", "DiffusionBValue", "AcquisitionNumber", "TriggerTime"),
    *("FlipAngle", "ImageType", "AcquisitionTime", "ContentTime"),
)
_MIN_STEP_MM = 0.01  # slices nearer than this are at one place
_LOOSE_MM, _LOOSE_SHARE = (
    0.01,
    0.01,
)  # positions are decimal texts: a slice may be off by this, or by this share of a step
_SHEAR = 1e-3  # as for any affine, see `Grid`


@dataclass(frozen=True, eq=False)
class Slice:
    """A file of a series, and those of its tags that place it."""

    path: Path
    tags: Dataset


@dataclass(frozen=True, eq=False)
class Series:
    """Files of one series instance UID.

    Attributes:
        uid: the series instance UID.
        modality, description: as the scanner says, else "".
        number: the series number, 0 where there is none.
        slices: in the order of their names; of `ordered`, in the order of their places.
    """

    uid: str
    modality: str
    description: str
    number: int
    slices: tuple[Slice, ...]

    def __str__(self) -> str:
        text = f"{self.number} '{self.description}'" if self.description else f"{self.number}"
        return f"series {text} ({self.modality or 'no modality'}, {len(self.slices)} slices)"

    def facts(self) -> dict[str, Any]:
        """What a record says about it, as plain data: nothing about the patient."""
        about = {"uid": self.uid, "number": self.number, "description": self.description}
        return {**about, "modality": self.modality, "slices": len(self.slices)}

    def digest(self) -> str:
        """Of the bytes of all files, whatever their names and order, in hex."""
        found = sorted(file_digest(s.path) for s in self.slices)
        return hashlib.blake2b("".join(found).encode(), digest_size=16).hexdigest()


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """DICOM files in a folder and all below it, in the order of their names."""
    for place, inner, names in os.walk(folder):
        inner.sort()
        yield from (path for name in sorted(names) if is_dicom(path := Path(place, name)))


def find_series(folder: Path, called: Path | None = None) -> list[Series]:
    """Image series in a folder and all below it, by number and uid; scouts inside a series are left out.

    Args:
        folder: of the files.
        called: what messages call it.

    Raises:
        DataError: no DICOM images, or a file that cannot be read.
    """
    found: dict[str, list[Slice]] = {}
    for path in dicom_files(folder):
        tags = _tags(path)
        _check_whole(path, tags)
        if "Rows" in tags and str(tags.get("Modality", "")) not in _NO_IMAGES:
            found.setdefault(str(tags.get("SeriesInstanceUID", "")), []).append(Slice(path, tags))
    if not found:
        text = f"{called or folder}: expected a DICOM series, found no slice of one"
        raise DataError(f"{text}; name the folder that holds its files, or a zip of it")
    return sorted((_series(uid, slices) for uid, slices in found.items()), key=lambda s: (s.number, s.uid))


def choose_series(
    folder: Path, uid: str | None = None, modality: str | None = None, called: Path | None = None, quiet: bool = False
) -> Series:
    """One series of a folder: the named one; else, of those of the modality where there are any, the one with the most
    slices, and of those that tie the first by number. A choice is logged with what was not chosen.

    Args:
        folder: of the files.
        uid: series instance UID.
        modality: of the model, such as "CT" or "MR"; another one is a warning.
        called: what messages call the folder.
        quiet: log nothing.

    Raises:
        DataError: no such series; the message lists those that are there.
    """
    called = called or folder
    found = find_series(folder, called)
    if uid is not None:
        named = next((s for s in found if s.uid == uid), None)
        if named is None:
            raise DataError(f"{called}: series: expected one of those that are there, found '{uid}'; {_listed(found)}")
        return named
    chosen = max(found, key=lambda s: (s.modality == modality, len(s.slices), -s.number))
    if len(found) > 1 and not quiet:
        others = _listed([s for s in found if s is not chosen])
        log.warning("%s: %s is taken, for it has most slices; series=<uid> takes another: %s", called, chosen, others)
    if modality is not None and chosen.modality != modality and not quiet:
        log.warning("%s: %s is read by a model of %s", called, chosen, modality)
    return chosen


def read_series(series: Series, path: Path) -> tuple[Volume, Series]:
    """The volume of a series, and the series with its slices in the volume's native order.

    Args:
        series: from `choose_series`.
        path: what the volume is called by, in messages too.

    Raises:
        DataError: the slices do not make one regular grid, or voxels that cannot be read; the message says why.
    """
    series, affine = ordered(series, path)
    array = np.stack([_voxels(s) for s in series.slices])
    return as_image(volume_of(path, array.transpose(2, 1, 0), affine)), series


def ordered(series: Series, path: Path) -> tuple[Series, NDArray[np.float64]]:
    """A series with its slices along the normal of their planes, and the (4, 4) affine, voxel to mm in RAS+.

    Voxels are (column, row, slice).

    Raises:
        DataError: the slices do not make one regular grid.
    """
    slices = _once(series, path)
    where = f"{path}: {series}"
    _check_same(slices, where)
    axes = _direction(slices, where)
    normal = np.cross(axes[0], axes[1])
    places = np.array([_numbers(s, "ImagePositionPatient", 3, where) for s in slices])
    order = np.argsort(places @ normal, kind="stable")
    slices, places = [slices[i] for i in order], places[order]
    step = _step(slices, places, normal, where)
    row_mm, column_mm = _numbers(slices[0], "PixelSpacing", 2, where)
    affine = np.eye(4)
    # the first pair of cosines is where columns grow, so the spacing of columns, the second number, goes with it
    affine[:3, :3] = np.column_stack([axes[0] * column_mm, axes[1] * row_mm, step])
    affine[:3, 3] = places[0]
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    uid, modality, description, number = series.uid, series.modality, series.description, series.number
    return Series(uid, modality, description, number, tuple(slices)), lps_to_ras @ affine


def headers(series: Series) -> list[Dataset]:
    """All tags of each slice but the voxels, in the order of the slices."""
    import pydicom

    return [pydicom.dcmread(s.path, stop_before_pixels=True) for s in series.slices]


def _tags(path: Path) -> Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*_TAGS, *_APART])
    except OSError as error:
        raise unreadable(path, error) from error
    except (InvalidDicomError, ValueError, KeyError, EOFError, struct.error, NotImplementedError) as error:
        raise DataError(f"{path}: expected a DICOM file, found a damaged one ({error}); export it again") from error


def _check_whole(path: Path, tags: Dataset) -> None:
    """Notice an image that was cut off before its size: it must not pass as something that is no image."""
    kind = tags.file_meta.get("MediaStorageSOPClassUID")
    if "Rows" not in tags and (kind is None or "Image Storage" in kind.name):
        raise DataError(f"{path}: expected a whole DICOM file, found one that is cut short; copy it again")


def _series(uid: str, slices: Sequence[Slice]) -> Series:
    tags = slices[0].tags
    images = [s for s in slices if "LOCALIZER" not in (s.tags.get("ImageType") or ())]
    number = str(tags.get("SeriesNumber") or 0)
    return Series(
        uid,
        str(tags.get("Modality") or ""),
        " ".join(str(tags.get("SeriesDescription") or "").split()),
        int(number) if number.lstrip("-").isdigit() else 0,
        tuple(images or slices),
    )


def _listed(found: Sequence[Series]) -> str:
    return "; ".join(f"{s}: {s.uid}" for s in found)


def _once(series: Series, path: Path) -> list[Slice]:
    """The slices without copies of one."""
    once = {str(s.tags.get("SOPInstanceUID", s.path)): s for s in reversed(series.slices)}
    copies = len(series.slices) - len(once)
    if copies:
        log.warning("%s: %s: %d files are copies of others (one SOP instance UID); left out", path, series, copies)
    return list(reversed(once.values()))


def _check_same(slices: Sequence[Slice], where: str) -> None:
    tags = slices[0].tags
    frames = int(tags.get("NumberOfFrames") or 1)
    if frames > 1:
        raise DataError(f"{where}: expected one slice a file, found {frames} frames in one; convert it: dcm2niix")
    if int(tags.get("SamplesPerPixel") or 1) != 1:
        raise DataError(f"{where}: expected one number a voxel, found a colour image; use the series itself")
    for name in ("Rows", "Columns", "PixelSpacing"):
        found = {str(s.tags.get(name)) for s in slices}
        if len(found) > 1:
            raise DataError(
                f"{where}: expected slices of one {name}, found {', '.join(sorted(found))}; put those that belong "
                "together into a folder of their own"
            )


def _direction(slices: Sequence[Slice], where: str) -> NDArray[np.float64]:
    """Unit vectors (2, 3) along which columns and rows grow, in DICOM's LPS frame."""
    found = np.array([_numbers(s, "ImageOrientationPatient", 6, where) for s in slices]).reshape(-1, 2, 3)
    groups: list[tuple[NDArray[np.float64], int]] = []
    for axes in found:
        same = next((i for i, (other, _) in enumerate(groups) if np.abs(other - axes).max() < _SHEAR), None)
        if same is None:
            groups.append((axes, 1))
        else:
            groups[same] = (groups[same][0], groups[same][1] + 1)
    if len(groups) > 1:
        groups.sort(key=lambda group: -group[1])
        text = ", ".join(f"{n} slices along {np.round(axes, 4).tolist()}" for axes, n in groups[:4])
        raise DataError(
            f"{where}: expected slices of one orientation, found {len(groups)}: {text}; put those of one orientation "
            "into a folder of their own"
        )
    axes = found[0]
    if np.abs(axes @ axes.T - np.eye(2)).max() > _SHEAR:
        text = np.round(axes, 4).tolist()
        raise DataError(
            f"{where}: ImageOrientationPatient: expected two orthogonal unit vectors, found {text}; export it again"
        )
    unit: NDArray[np.float64] = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    return unit


def _step(
    slices: Sequence[Slice], places: NDArray[np.float64], normal: NDArray[np.float64], where: str
) -> NDArray[np.float64]:
    """Way from one slice to the next, after checking that it is the same all along.

    Args:
        slices: along `normal`.
        places: (n, 3) of their first voxels in mm.
        normal: of their planes.
        where: for messages.
    """
    if len(slices) == 1:
        return normal * _thickness(slices[0], where)
    depths = places @ normal
    steps = np.diff(depths)
    _check_one_each(slices, steps, where)
    middle = float(np.median(steps))
    step: NDArray[np.float64] = (places[-1] - places[0]) / (len(slices) - 1)
    off = np.linalg.norm(places - places[0] - np.arange(len(slices))[:, None] * step, axis=1).max()
    if off > max(_LOOSE_MM, _LOOSE_SHARE * middle):
        raise DataError(f"{where}: {_irregular(slices, depths, steps, middle, float(off))}")
    along = float(step @ normal)
    aside = float(np.linalg.norm(step - along * normal))
    if aside > _SHEAR * along:
        degrees = np.rad2deg(np.arctan2(aside, along))
        raise DataError(
            f"{where}: expected slices straight above each other, found each shifted by {aside:.3g} mm in its plane, a "
            f"gantry tilt of {degrees:.1f} degrees; undo the tilt first: dcm2niix writes a file *_Tilt*.nii.gz"
        )
    return step


def _check_one_each(slices: Sequence[Slice], steps: NDArray[np.float64], where: str) -> None:
    same = steps < _MIN_STEP_MM
    if not same.any():
        return
    first = int(np.argmax(same))
    pair = slices[first].tags, slices[first + 1].tags
    differ = [f"{t} ({pair[0].get(t)}, {pair[1].get(t)})" for t in _APART if pair[0].get(t) != pair[1].get(t)]
    about = f", which differ in {', '.join(differ[:3])}" if differ else ""
    raise DataError(
        f"{where}: expected one slice at each place, found {slices[first].path.name} and {slices[first + 1].path.name} "
        f"at one{about}, and {int(same.sum())} such pairs in all; are they several time points, echoes or phases? put "
        "the files of one into a folder of their own"
    )


def _irregular(
    slices: Sequence[Slice], depths: NDArray[np.float64], steps: NDArray[np.float64], middle: float, off: float
) -> str:
    """What is wrong with slices that are not equally far apart, and what to do."""
    least = float(steps.min())
    whole = np.rint(steps / least)
    gaps = np.flatnonzero(whole > 1)
    near = np.abs(steps - whole * least) <= max(_LOOSE_MM, 0.05 * least)
    if len(gaps) and near.all() and 2 * len(gaps) <= len(steps):
        missing = int((whole[gaps] - 1).sum())
        after = ", ".join(f"{slices[i].path.name} (at {depths[i]:.2f} mm)" for i in gaps[:3])
        return (
            f"expected slices every {least:.4g} mm, found {missing} missing after {after}; send the series again, or "
            "name the folder of a whole one"
        )
    if steps.max() - steps.min() > max(_LOOSE_MM, _LOOSE_SHARE * middle):
        return (
            f"expected slices equally far apart, found {steps.min():.4g} to {steps.max():.4g} mm; reconstruct it with "
            "one spacing, or resample it first: dcm2niix writes a file *_Eq*.nii.gz"
        )
    return f"expected slices in a straight row, found one {off:.3g} mm off; export the series again"


def _thickness(only: Slice, where: str) -> float:
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        if only.tags.get(name):
            return float(abs(_numbers(only, name, 1, where)[0]))
    raise DataError(f"{where}: expected two slices or more, or SliceThickness in the one; found neither")


def _numbers(one: Slice, name: str, count: int, where: str) -> NDArray[np.float64]:
    value = one.tags.get(name)
    try:
        found = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (count,) or not np.isfinite(found).all() or (name == "PixelSpacing" and (found <= 0).any()):
        what = "nothing" if value is None else repr(str(value))
        raise DataError(
            f"{where}: {name}: expected {count} numbers, found {what} in {one.path.name}; without it the place of the "
            "voxels is unknown: export the series itself, not secondary captures"
        )
    return found


def _voxels(one: Slice) -> NDArray[Any]:
    """(rows, columns) with the rescale applied, as small a type as GDCM finds, floats as float32."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(one.path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        syntax = getattr(one.tags.file_meta.get("TransferSyntaxUID"), "name", "unknown")
        said = str(error).strip().splitlines()[-1].strip()
        raise DataError(
            f"{one.path}: voxels cannot be read ({syntax}): {said}; send the series uncompressed"
        ) from error
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    shape = int(one.tags.Rows), int(one.tags.Columns)
    if array.size != shape[0] * shape[1]:
        raise DataError(f"{one.path}: expected {shape} voxels, found {array.shape}; export it again")
    array = array.reshape(shape)
    return array.astype(np.float32) if array.dtype == np.float64 else array
