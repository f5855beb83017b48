"""A collection of folders with one defect each: kind of outcome, and what the report must hold."""

from __future__ import annotations

from typing import NamedTuple


class Scenario(NamedTuple):
    """What is wrong in a few words, the kind of outcome, and texts the report must hold."""

    what: str
    kind: str
    parts: tuple[str, ...]


SCENARIOS: dict[str, Scenario] = {
    "lblsize": Scenario(
        "label map with three slices fewer",
        "error",
        ("33 x 49 x 32", "33 x 49 x 29", "images/lblsize_bad1", "lms/lblsize_bad1"),
    ),
    "lblspacing": Scenario(
        "label map of 1.5 mm on an image of 1 mm",
        "error",
        ("1 x 1 x 1 mm", "1.5 x 1.5 x 1.5 mm", "lms/lblspacing_bad1"),
    ),
    "lblorigin": Scenario("label map 20 mm off", "error", ("-20.0, 0.0, 0.0] mm", "lms/lblorigin_bad1")),
    "lblorigintiny": Scenario("label map 0.3 mm off", "warn", ("0.3 mm", "0.5 mm", "lms/lblorigintiny_bad1")),
    "lbldirection": Scenario("label map with x and y turned round", "error", ("RAS", "LPS", "lms/lbldirection_bad1")),
    "lblreoriented": Scenario("label map in another axis order, on the same grid", "accept", ()),
    "shearaffine": Scenario("sheared affine", "error", ("orthogonal", "images/shearaffine_bad1")),
    "nolabel": Scenario("image without label map", "error-or-skip", ("images/nolabel_bad1", "lms/nolabel_bad1")),
    "noimage": Scenario("label map without image", "error-or-skip", ("images/noimage_bad1", "lms/noimage_bad1")),
    "truncimg": Scenario("image cut at 60 %", "error", ("truncated", "images/truncimg_bad1")),
    "trunclbl": Scenario("label map cut at 60 %", "error", ("truncated", "lms/trunclbl_bad1")),
    "zerobyteimg": Scenario("image of 0 bytes", "error", ("empty", "images/zerobyteimg_bad1")),
    "zerobytelbl": Scenario("label map of 0 bytes", "error", ("empty", "lms/zerobytelbl_bad1")),
    "notgz": Scenario("uncompressed NIfTI called .nii.gz", "accept", ()),
    "hugeheader": Scenario(
        "header that claims 54 TB", "error", ("54000000000352 bytes", "66 bytes", "images/hugeheader_bad1")
    ),
    "isadir": Scenario("folder called like an image", "error", ("a directory", "images/isadir_bad1")),
    "emptydataset": Scenario("no files", "error", ("emptydataset/images", "emptydataset/lms")),
    "nolmsdir": Scenario("no folder lms/", "error", ("nolmsdir/lms",)),
    "lblfloat": Scenario("blurred label map", "error", ("whole numbers", "0.49", "lms/lblfloat_bad1")),
    "lblfloatint": Scenario("label map of whole floats", "accept", ()),
    "lblint64": Scenario("label map of int64", "accept", ()),
    "lblnegative": Scenario("label -1", "error", ("-1", "lms/lblnegative_bad1")),
    "lblbig": Scenario("labels 300 and 1000, undeclared", "error", ("300", "1000", "255", "lms/lblbig_bad1")),
    "lblunexpected": Scenario("label 7, undeclared", "error", ("lblunexpected_bad1", "value 7", "1 a, 2 b")),
    "lblsparse": Scenario("labels 3 and 117, declared", "accept", ()),
    "lblempty": Scenario("empty label map", "warn", ("lms/lblempty_bad1", "only 0")),
    "lblallempty": Scenario("every label map empty", "error", ("2 label maps, all of them empty",)),
    "lblbrain530": Scenario("labels up to 530, undeclared", "error", ("530", "255", "lms/lblbrain530_bad1")),
    "imgnan": Scenario("NaN in a NIfTI image", "error", ("519 of 51744", "NaN", "images/imgnan_bad1")),
    "imginf": Scenario("infinity in an image", "error", ("6 of 51744", "infinite", "images/imginf_bad1")),
    "imgnannrrd": Scenario("NaN in a NRRD image", "error", ("519 of 51744", "imgnannrrd_bad1.nrrd")),
    "imgconst": Scenario("constant image", "warn", ("7 in every voxel", "images/imgconst_bad1")),
    "imgscaled": Scenario("intensities scaled by the header", "accept", ()),
    "img4d": Scenario("4-D image", "error", ("4-D", "(128, 96, 24, 2)", "images/img4d_bad1")),
    "img4done": Scenario("4-D image of one time point", "accept", ()),
    "lbl4d": Scenario("4-D label map", "error", ("4-D", "(64, 64, 60, 3)", "lms/lbl4d_bad1")),
    "img2d": Scenario("2-D image", "error", ("3-D", "(33, 49)", "images/img2d_bad1")),
    "tinyvol": Scenario("4 x 4 x 4 voxels", "accept", ()),
    "rgb": Scenario("colour image", "error", ("3 components", "images/rgb_bad1", "images/rgb_bad2")),
    "complexval": Scenario("complex voxels", "error", ("complex", "images/complexval_bad1")),
    "dupcase": Scenario(
        "one case id as .nii.gz and as .nrrd", "error", ("images/dupcase_bad1.nii.gz", "images/dupcase_bad1.nrrd")
    ),
    "extmix": Scenario("image .nrrd, label map .nii.gz", "accept", ()),
    "badnames": Scenario(
        "names outside the rule",
        "error",
        (
            *("badnames-c1", "BadNames_c2", "badnames_c 3", "badnames.nii.gz", "badnames_.nii.gz", "other_c5"),
            *("badnames__c6", "badnames_cé7", "badnames_c8.v2", "_c9", "<title>_<case id>"),
        ),
    ),
}
DECLARED = {"lblunexpected": {1: "a", 2: "b"}, "lblsparse": {3: "a", 117: "b"}}
