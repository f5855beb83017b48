"""Faults made on the spot: how each is made, and the verdict it gets."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from .raw_pairs import AFFINE, SHAPE, image_array, lm_array, save

TITLE = "raw"
MIB = 1 << 20


@dataclass(frozen=True)
class Fault:
    """A datasource with one thing wrong.

    Attributes:
        what: is wrong, in a few words.
        verdict: of the bad cases: ``ok``, ``note``, ``warning`` or ``error``.
        make: spoils a folder in which raw_1 and raw_2 are good, and raw_3 is good until then.
        words: that the report must hold.
        settings: of the datasource.
        around: the circumstances of the scan.
    """

    what: str
    verdict: str
    make: Callable[[Path], object]
    words: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    around: Callable[[Path], AbstractContextManager[None]] = lambda folder: nullcontext()


def good_folder(folder: Path) -> Path:
    """Three good pairs, no two alike."""
    for k in (1, 2, 3):
        lm = lm_array()
        lm[0, 0, :k] = 1
        save(folder / "images" / f"raw_{k}.nii.gz", image_array(k))
        save(folder / "lms" / f"raw_{k}.nii.gz", lm)
    return folder


def image(folder: Path) -> Path:
    return folder / "images" / "raw_3.nii.gz"


def lm(folder: Path) -> Path:
    return folder / "lms" / "raw_3.nii.gz"


def replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def relinked(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def resaved(path: Path, array: Any = None, affine: Any = None, **header: Any) -> None:
    """Save anew with another array, affine or header fields, bypassing nibabel's own corrections."""
    former = nibabel.load(path)
    array = np.asarray(former.dataobj) if array is None else array
    made = nibabel.Nifti1Image(array, former.affine if affine is None else affine)
    nibabel.save(made, path)
    if header:
        content = bytearray(gzip.decompress(path.read_bytes()))
        fields = nibabel.Nifti1Header.template_dtype.fields
        parsed = np.frombuffer(content, nibabel.Nifti1Header.template_dtype, count=1)
        assert fields is not None
        for name, value in header.items():
            parsed[name] = value
        path.write_bytes(gzip.compress(bytes(content)))


def as_itk(path: Path, ending: str, compress: bool = True) -> Path:
    """The file in another format, in place of the NIfTI."""
    target = path.with_name("raw_3" + ending)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(target), compress)
    path.unlink()
    return target


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0x55
    path.write_bytes(bytes(content))


def bomb(folder: Path) -> None:
    """A good volume with 80 MiB of zeros behind its voxels, in less than 100 kB."""
    image(folder).write_bytes(gzip.compress(gzip.decompress(image(folder).read_bytes()) + bytes(80 * MIB)))


def moved(mm: float) -> Any:
    affine = AFFINE.copy()
    affine[2, 3] += mm
    return affine


def swap_pair(folder: Path) -> None:
    between = folder / "between"
    image(folder).rename(between)
    lm(folder).rename(image(folder))
    between.rename(lm(folder))


def swap_folders(folder: Path) -> None:
    (folder / "images").rename(folder / "between")
    (folder / "lms").rename(folder / "images")
    (folder / "between").rename(folder / "lms")


class AsNobody(AbstractContextManager[None]):
    """The scan of somebody without rights; root may read anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        image(self.folder).chmod(0)
        self.root = os.geteuid() == 0
        if self.root:
            for place in (*self.folder.glob("*"), self.folder, *self.folder.parents):
                if place != Path("/") and place.stat().st_mode & 0o055 != 0o055:
                    place.chmod(place.stat().st_mode | 0o055)
            (self.folder.parent / "store").mkdir(exist_ok=True)
            (self.folder.parent / "store").chmod(0o777)
            os.seteuid(65534)

    def __exit__(self, *error: object) -> None:
        if self.root:
            os.seteuid(0)
        image(self.folder).chmod(0o600)


def odd_lm(value: float, dtype: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        array = lm_array().astype(dtype)
        array[0, 0, 0] = value
        resaved(lm(folder), array)

    return make


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
SHEAR = AFFINE @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

FAULTS: dict[str, Fault] = {
    "good": Fault("nothing", "ok", lambda f: None),
    "labels_above_65535": Fault(
        "a label of 70000", "error", odd_lm(70_000, np.int32), ("70000", "65535", "fran fix relabel")
    ),
    "labels_negative": Fault("a label of -1", "error", odd_lm(-1, np.int16), ("-1 in 1 voxels", "fran fix relabel")),
    "labels_broken": Fault("a label of 0.5", "error", odd_lm(0.5, np.float32), ("whole numbers", "0.5")),
    "labels_undeclared": Fault(
        "a label nobody declared",
        "error",
        odd_lm(9, np.uint8),
        ("value 9 (1 voxels)", "fran fix relabel"),
        {"labels": {1: "kidney", 2: "tumour"}},
    ),
    "label_of_one_case": Fault("a label in one case alone", "note", odd_lm(9, np.uint8), ("value 9 here alone",)),
    "lm_empty": Fault("nothing labelled", "warning", lambda f: resaved(lm(f), np.zeros(SHAPE, np.uint8)), ("only 0",)),
    "image_constant": Fault(
        "one intensity alone",
        "warning",
        lambda f: resaved(image(f), np.full(SHAPE, 5, np.int16)),
        ("5 in every voxel",),
    ),
    "link_dangling": Fault(
        "a link to nothing", "error", lambda f: relinked(image(f), f / "nowhere.nii.gz"), ("not there", "nowhere")
    ),
    "link_loop": Fault("a link to itself", "error", lambda f: relinked(lm(f), lm(f)), ("leads back to itself",)),
    "lfs_pointer": Fault("a git-lfs pointer", "error", lambda f: replaced(image(f), LFS), ("git lfs pull",)),
    "bomb": Fault("80 MiB of zeros behind the voxels", "error", bomb, ("MiB more",)),
    "header_claims_more": Fault(
        "a header of 30000 x 30000 x 30000 voxels",
        "error",
        lambda f: resaved(image(f), dim=[3, *[30_000] * 3, 1, 1, 1, 1]),
        ("54000000000352 bytes",),
    ),
    "truncated": Fault(
        "half of the file", "error", lambda f: replaced(image(f), image(f).read_bytes()[:900]), ("truncated",)
    ),
    "byte_flipped": Fault("a wrong byte in a .nii.gz", "error", lambda f: flip_byte(image(f)), ("corrupt",)),
    "byte_flipped_mha": Fault(
        "a wrong byte in a .mha", "error", lambda f: flip_byte(as_itk(image(f), ".mha")), ("corrupt",)
    ),
    "byte_flipped_nrrd": Fault(
        "a wrong byte in a .nrrd", "error", lambda f: flip_byte(as_itk(image(f), ".nrrd")), ("corrupt",)
    ),
    "mha": Fault("a compressed .mha", "ok", lambda f: as_itk(image(f), ".mha")),
    "nrrd": Fault("a .nrrd", "ok", lambda f: as_itk(image(f), ".nrrd")),
    "swapped_pair": Fault("image and label map exchanged", "error", swap_pair, ("image and label map swapped", "mv ")),
    "swapped_folders": Fault(
        "images/ and lms/ exchanged", "error", swap_folders, ("label maps in images/ and images in lms/", "mv ")
    ),
    "copied_image": Fault(
        "the image of another case, compressed anew",
        "warning",
        lambda f: resaved(image(f), np.asarray(nibabel.load(f / "images" / "raw_1.nii.gz").dataobj)),
        ("the same voxels",),
    ),
    "copied_lm": Fault(
        "the label map of another case",
        "warning",
        lambda f: shutil.copy(f / "lms" / "raw_1.nii.gz", lm(f)),
        ("the same voxels",),
    ),
    "doubled_id": Fault(
        "two images of one case id",
        "error",
        lambda f: shutil.copy(image(f), f / "images" / "raw_3_2020.nii.gz"),
        ("raw_3_2020", "fran fix rename-duplicates"),
    ),
    "bad_name": Fault(
        "a hyphen for the underscore",
        "error",
        lambda f: [p.rename(p.with_name("raw-3.nii.gz")) for p in (image(f), lm(f))],
        ("a hyphen", "fran fix names"),
    ),
    "affine_rounded": Fault(
        "affines that differ by 0.00005", "note", lambda f: resaved(lm(f), affine=moved(5e-5)), ("5e-05",)
    ),
    "affine_small": Fault(
        "a label map 0.4 mm off",
        "warning",
        lambda f: resaved(lm(f), affine=moved(0.4)),
        ("0.4 mm", "fran fix harmonise"),
    ),
    "affine_large": Fault(
        "a label map 12 mm off", "error", lambda f: resaved(lm(f), affine=moved(12)), ("12.0] mm", "origin")
    ),
    "affine_sheared": Fault(
        "axes that are not orthogonal",
        "error",
        lambda f: [resaved(p, affine=SHEAR, qform_code=0) for p in (image(f), lm(f))],
        ("orthogonal",),
    ),
    "affine_nan": Fault(
        "NaN in the affine", "error", lambda f: resaved(image(f), srow_x=[np.nan, 0, 0, 0]), ("finite",)
    ),
    "spacing_zero": Fault(
        "slices 0 mm apart", "error", lambda f: resaved(image(f), srow_z=[0, 0, 0, 0]), ("positive length",)
    ),
    "spacing_huge": Fault(
        "slices 60 mm apart",
        "error",
        lambda f: [resaved(p, affine=AFFINE @ np.diag([1, 1, 24, 1])) for p in (image(f), lm(f))],
        ("60 mm",),
    ),
    "unit_metre": Fault(
        "a header in metres", "error", lambda f: resaved(image(f), xyzt_units=1), ("millimetres", "meter")
    ),
    "unit_unknown": Fault("a header without a unit", "ok", lambda f: resaved(image(f), xyzt_units=0)),
    "gzip_called_nii": Fault(
        "a compressed file called .nii", "ok", lambda f: image(f).rename(image(f).with_name("raw_3.nii"))
    ),
    "nrrd_called_nii": Fault(
        "a .nrrd called .nii.gz",
        "error",
        lambda f: as_itk(image(f), ".nrrd").rename(image(f)),
        ("a .nrrd file", "mv "),
    ),
    "text_called_nii": Fault(
        "a text file called .nii.gz", "error", lambda f: replaced(image(f), b"case,volume\n" * 50), ("a text file",)
    ),
    "web_page": Fault(
        "a failed download", "error", lambda f: replaced(image(f), b"<!DOCTYPE html><html>404</html>"), ("a web page",)
    ),
    "directory": Fault(
        "a folder called like a file", "error", lambda f: image(f).unlink() or image(f).mkdir(), ("a directory",)
    ),
    "image_nan": Fault(
        "NaN in the image",
        "error",
        lambda f: resaved(image(f), np.where(lm_array() > 0, np.nan, 1.0).astype(np.float32)),
        ("78 of 693 voxels",),
    ),
    "forbidden": Fault("no right to read", "error", lambda f: None, ("no permission", "chmod u+r"), None, AsNobody),
}
