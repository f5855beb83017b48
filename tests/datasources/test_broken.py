"""A collection of folders with one defect each: kind of outcome and what the message must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import problems_table

pytestmark = pytest.mark.realdata

# scenario: (kind, texts the report must hold)
SCENARIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lblsize": ("error", ("33 x 49 x 32", "33 x 49 x 29", "images/lblsize_bad1", "lms/lblsize_bad1")),
    "lblspacing": ("error", ("1 x 1 x 1 mm", "1.5 x 1.5 x 1.5 mm", "lms/lblspacing_bad1")),
    "lblorigin": ("error", ("-20.0, 0.0, 0.0] mm", "lms/lblorigin_bad1")),
    "lblorigintiny": ("warn", ("0.3 mm", "0.5 mm", "lms/lblorigintiny_bad1")),
    "lbldirection": ("error", ("RAS", "LPS", "lms/lbldirection_bad1")),
    "lblreoriented": ("accept", ()),
    "shearaffine": ("error", ("orthogonal", "images/shearaffine_bad1")),
    "nolabel": ("error-or-skip", ("images/nolabel_bad1", "lms/nolabel_bad1")),
    "noimage": ("error-or-skip", ("images/noimage_bad1", "lms/noimage_bad1")),
    "truncimg": ("error", ("truncated", "images/truncimg_bad1")),
    "trunclbl": ("error", ("truncated", "lms/trunclbl_bad1")),
    "zerobyteimg": ("error", ("empty", "images/zerobyteimg_bad1")),
    "zerobytelbl": ("error", ("empty", "lms/zerobytelbl_bad1")),
    "notgz": ("accept", ()),
    "hugeheader": ("error", ("54000000000352 bytes", "66 bytes", "images/hugeheader_bad1")),
    "isadir": ("error", ("a directory", "images/isadir_bad1")),
    "emptydataset": ("error", ("emptydataset/images", "emptydataset/lms")),
    "nolmsdir": ("error", ("nolmsdir/lms",)),
    "lblfloat": ("error", ("whole numbers", "0.49", "lms/lblfloat_bad1")),
    "lblfloatint": ("accept", ()),
    "lblint64": ("accept", ()),
    "lblnegative": ("error", ("-1", "lms/lblnegative_bad1")),
    "lblbig": ("error", ("300", "1000", "255", "lms/lblbig_bad1")),
    "lblunexpected": ("error", ("lblunexpected_bad1", "value 7", "1 a, 2 b")),
    "lblsparse": ("accept", ()),
    "lblempty": ("warn", ("lms/lblempty_bad1", "only 0")),
    "lblallempty": ("error", ("2 label maps, all of them empty",)),
    "lblbrain530": ("error", ("530", "255", "lms/lblbrain530_bad1")),
    "imgnan": ("error", ("519 of 51744", "NaN", "images/imgnan_bad1")),
    "imginf": ("error", ("6 of 51744", "infinite", "images/imginf_bad1")),
    "imgnannrrd": ("error", ("519 of 51744", "imgnannrrd_bad1.nrrd")),
    "imgconst": ("warn", ("7 in every voxel", "images/imgconst_bad1")),
    "imgscaled": ("accept", ()),
    "img4d": ("error", ("4-D", "(128, 96, 24, 2)", "images/img4d_bad1")),
    "img4done": ("accept", ()),
    "lbl4d": ("error", ("4-D", "(64, 64, 60, 3)", "lms/lbl4d_bad1")),
    "img2d": ("error", ("3-D", "(33, 49)", "images/img2d_bad1")),
    "tinyvol": ("accept", ()),
    "rgb": ("error", ("3 components", "images/rgb_bad1", "images/rgb_bad2")),
    "complexval": ("error", ("complex", "images/complexval_bad1")),
    "dupcase": ("error", ("images/dupcase_bad1.nii.gz", "images/dupcase_bad1.nrrd")),
    "extmix": ("accept", ()),
    "badnames": (
        "error",
        (
            *("badnames-c1", "BadNames_c2", "badnames_c 3", "badnames.nii.gz", "badnames_.nii.gz", "other_c5"),
            *("badnames__c6", "badnames_cé7", "badnames_c8.v2", "_c9", "<title>_<case id>"),
        ),
    ),
}
DECLARED = {"lblunexpected": {1: "a", 2: "b"}, "lblsparse": {3: "a", 117: "b"}}
WITHOUT_GOOD = {"emptydataset", "nolmsdir", "lblallempty"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, shared_data: Path, tmp_path: Path) -> None:
    kind, parts = SCENARIOS[scenario]
    source = Datasource(shared_data / "broken" / scenario, labels=DECLARED.get(scenario), modality="MR")
    report = source.scan(tmp_path / "store")
    table = problems_table(report.problems)
    kept = [r.case_id for r in report.records]
    if kind in ("error", "error-or-skip"):
        assert report.errors, table
        assert kept == ([] if scenario in WITHOUT_GOOD else [f"{scenario}_good1"])
    else:
        assert report.errors == [], table
        assert len(kept) == 2
    if kind == "warn":
        assert any(p.severity == "warning" for p in report.problems)
    if kind == "accept":
        assert [p for p in report.problems if p.severity != "note"] == []
    for part in parts:
        assert part in table
    assert "Traceback" not in table
    assert "report this as a bug" not in table


def test_one_problem_a_defect(shared_data: Path, tmp_path: Path) -> None:
    report = Datasource(shared_data / "broken" / "badnames").scan(tmp_path / "store")
    assert len(report.errors) == 10


def test_scaling_is_applied(shared_data: Path, tmp_path: Path) -> None:
    report = Datasource(shared_data / "broken" / "imgscaled").scan(tmp_path / "store")
    image = report.records[0].facts.image
    assert (image.min, image.max) == (-1023.0, -897.5)


def test_big_labels_where_declared(shared_data: Path, tmp_path: Path) -> None:
    declared = {1: "a", 2: "b", 300: "c", 1000: "d"}
    report = Datasource(shared_data / "broken" / "lblbig", labels=declared).scan(tmp_path / "store")
    assert report.errors == []
    assert set(report.records[0].facts.labels) == {300, 1000}
