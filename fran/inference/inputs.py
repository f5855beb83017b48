"""The images that a prediction is asked for: files, and DICOM series in folders and zips."""

from __future__ import annotations

import logging
import re
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fran.errors import DataError
from fran.io.archives import safe_extract
from fran.io.dicom import choose_series, dicom_files, headers, is_dicom, read_series
from fran.io.files import file_digest
from fran.io.volume import EXTENSIONS, Volume, read_native_grid, read_volume, stem

if TYPE_CHECKING:
    from pydicom import Dataset

log = logging.getLogger(__name__)

Inputs = Path | str | Sequence[Path | str]
ZIP = ".zip"
_IN_DICOM = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PT", "PT": "PT"}


@dataclass(frozen=True, eq=False)
class Loaded:
    """An image as read.

    Attributes:
        volume: its voxels.
        origin: where it is from, for the record: path, digest, of DICOM the series too.
        headers: of DICOM, all tags of each slice along the native z axis, where they were asked for.
    """

    volume: Volume
    origin: dict[str, Any]
    headers: tuple[Dataset, ...] = ()


class Image(Protocol):
    """Something that is read as one volume.

    Attributes:
        path: file or folder.
        name: of its label map, without ending.
        ending: of its label map, unless another is asked for.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def ending(self) -> str: ...  # noqa: D102

    def voxels(self) -> int:
        """How many it has, or a bound of it, without reading them."""

    def digest(self) -> str:
        """Of its content, in hex."""

    def read(self, with_headers: bool = False) -> Loaded:
        """The volume.

        Raises:
            DataError: it cannot be read as one.
        """


@dataclass(frozen=True)
class FileImage:
    """A file that `fran.io.volume.read_volume` reads; see `Image`."""

    path: Path

    @property
    def name(self) -> str:
        """File name without ending."""
        return stem(self.path)

    @property
    def ending(self) -> str:
        """That of the file."""
        return self.path.name[len(self.name) :].lower() or EXTENSIONS[0]

    def voxels(self) -> int:
        """By the header."""
        x, y, z = read_native_grid(self.path).shape
        return x * y * z

    def digest(self) -> str:
        """Of its bytes."""
        return file_digest(self.path)

    def read(self, with_headers: bool = False) -> Loaded:
        """The volume; a file has no DICOM headers.

        Raises:
            DataError: see `read_volume`.
        """
        volume = read_volume(self.path)
        return Loaded(volume, {"path": str(self.path.resolve()), "digest": self.digest()})


@dataclass(frozen=True)
class DicomImage:
    """A DICOM series in a folder, or in a zip, chosen as `choose_series` does; see `Image`."""

    path: Path
    series: str | None = None
    modality: str | None = None
    scratch: Path | str | None = field(default=None, compare=False)
    ending = EXTENSIONS[0]

    @property
    def name(self) -> str:
        """Name of the folder; of the zip without its ending."""
        path = self.path.resolve()
        return path.stem if self._zipped else path.name

    def voxels(self) -> int:
        """Bytes of the files: at two bytes a voxel, room for twice of what is stored plainly."""
        if self._zipped:
            try:
                with zipfile.ZipFile(self.path) as archive:
                    return sum(member.file_size for member in archive.infolist())
            except zipfile.BadZipFile:
                return 0  # reading it says what is wrong
        return sum(path.stat().st_size for path in dicom_files(self.path))

    def digest(self) -> str:
        """Of the series' files; of a zip, its own and what was asked for, so that nothing need be unpacked."""
        if self._zipped:
            return f"{file_digest(self.path)}{self.series or ''}"
        return choose_series(self.path, self.series, self.modality, quiet=True).digest()

    def read(self, with_headers: bool = False) -> Loaded:
        """The volume, and the headers of its slices where they are asked for.

        Raises:
            DataError: no such series, or one that is no regular volume; a zip that cannot be trusted.
        """
        if not self._zipped:
            return self._read(self.path, with_headers)
        with tempfile.TemporaryDirectory(prefix="fran-", dir=self.scratch) as room:
            folder = Path(room, self.name)
            safe_extract(self.path, folder)
            return self._read(folder, with_headers)

    @property
    def _zipped(self) -> bool:
        return self.path.suffix.lower() == ZIP

    def _read(self, folder: Path, with_headers: bool) -> Loaded:
        called = self.path.with_name(self.name)
        volume, chosen = read_series(choose_series(folder, self.series, self.modality, called), called)
        digest = self.digest() if self._zipped else chosen.digest()
        origin = {"path": str(self.path.resolve()), "digest": digest, "series": chosen.facts()}
        return Loaded(volume, origin, tuple(headers(chosen)) if with_headers else ())


def find_images(
    inputs: Inputs, series: str | None = None, modality: str | None = None, scratch: Path | str | None = None
) -> list[Image]:
    """Images of a file, a folder, a zip, a list in a text file (.txt, a path a line), or a list of these.

    Of a datasource's folder images/ is read, of one of nnU-Net or the decathlon imagesTs/. A folder that holds DICOM
    files is one image. Else its volumes and zips are images each, in the order of their
    names, or, where it has none, its folders with DICOM files in or below them.

    Args:
        inputs: the paths.
        series: series instance UID, for DICOM.
        modality: of the model, which a choice among several series prefers.
        scratch: folder in which zips are unpacked for the time of reading; the system's by default.

    Raises:
        DataError: something is missing or holds no images, or two images would get the same name.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    modality = _IN_DICOM.get((modality or "").upper())
    found: dict[str, Image] = {}
    for entry in given:
        for path in _images_of(Path(entry)):
            is_file = path.suffix.lower() != ZIP and not path.is_dir()
            image: Image = FileImage(path) if is_file else DicomImage(path, series, modality, scratch)
            other = found.setdefault(image.name, image)
            if other.path.resolve() != path.resolve():
                raise DataError(
                    f"input: {other.path} and {path} would both be written as {image.name}; predict them apart"
                )
    if not found:
        raise DataError("input: expected images, found an empty list")
    _say_channels(found)
    return list(found.values())


def _say_channels(names: Iterable[str]) -> None:
    """A word about names such as ``case_0000`` and ``case_0001``, which for nnU-Net are one case."""
    parts = [match for match in (re.fullmatch(r"(.+)_\d{4}", name) for name in names) if match]
    first = next((match[1] for match in parts if match[0].endswith("_0000")), None)
    alike = [match[0] for match in parts if match[1] == first]
    if len(alike) > 1:
        log.warning(
            "input: %s are channels of one case by nnU-Net's rule for names; here each is a case of its own. A network"
            " of fran's takes one channel: name its images alone, in a folder or as lines of a .txt file",
            " and ".join(alike),
        )


def _images_of(path: Path) -> list[Path]:
    if path.suffix.lower() == ".txt" and path.is_file():
        return _listed(path)
    if not path.is_dir():
        if is_dicom(path):
            raise DataError(f"input: {path} is one slice of a DICOM series; name the folder that holds the series")
        return [path]
    folder = _image_folder(path)
    inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    volumes = [p for p in inside if p.name.lower().endswith((*EXTENSIONS, ZIP))]
    if any(p.is_file() and is_dicom(p) for p in inside):
        if volumes:
            raise DataError(f"input: {folder} holds DICOM slices and also {volumes[0].name}; name one of them")
        return [folder]
    found = volumes or [p for p in inside if p.is_dir() and any(dicom_files(p))]
    if not found:
        kinds = f"{', '.join(EXTENSIONS)}, {ZIP} of DICOM, folders of DICOM"
        raise DataError(f"input: expected images ({kinds}) in {folder}, found none")
    return found


def _image_folder(path: Path) -> Path:
    """images/ of a datasource, imagesTs/ of nnU-Net and the decathlon, or the folder itself."""
    if (path / "images").is_dir():
        return path / "images"
    if (path / "imagesTs").is_dir():
        log.info("input: the test images, %s", path / "imagesTs")
        return path / "imagesTs"
    if (path / "imagesTr").is_dir():
        raise DataError(
            f"input: expected test images in {path / 'imagesTs'}, found imagesTr alone, the images to train on; to"
            f" predict those: input={path / 'imagesTr'}"
        )
    return path


def _listed(path: Path) -> list[Path]:
    """Paths of a list, relative ones from its own folder; blank lines and those that start with # do not count."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    images = [path.parent / line for line in lines if line and not line.startswith("#")]
    if not images:
        raise DataError(f"input: expected a path in each line of {path}, found none")
    return images
