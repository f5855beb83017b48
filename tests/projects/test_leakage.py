"""Nothing is in training and test: refused where it comes in, and kept apart where it already was."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import CasesFailed
from fran.io.files import read_json
from fran.projects.project import Project

from .raw_cases import write_cases


def copy_image(source: Path, target: Path) -> None:
    (target.parent.parent / "images" / target.name).write_bytes(source.read_bytes())


@pytest.fixture
def copies(tmp_path: Path, kits: Path) -> Path:
    """Three cases; the image of the second is that of kits_04."""
    folder = write_cases(tmp_path / "raw" / "copy", "copy", 3)
    copy_image(kits / "images" / "kits_04.nii.gz", folder / "images" / "copy_01.nii.gz")
    return folder


def test_copy_of_a_training_image_is_refused_as_a_test_case(project: Project, kits: Path, copies: Path) -> None:
    project.add_data([Datasource(kits)])
    report = project.add_data([Datasource(copies, test=True)])
    (problem,) = report.errors
    assert (problem.case_id, problem.what) == ("copy_01", "leakage")
    assert problem.path == str(copies / "images" / "copy_01.nii.gz")
    assert f"the same image as {kits / 'images' / 'kits_04.nii.gz'} of datasource kits, a training" in problem.found
    assert report.added == ["copy_00", "copy_02"]
    assert len(project) == 8
    with pytest.raises(CasesFailed, match="2 good cases are stored"):
        report.raise_for_errors()


@pytest.mark.parametrize("test_first", [True, False])
def test_the_later_of_two_that_come_together_is_refused(
    project: Project, kits: Path, copies: Path, test_first: bool
) -> None:
    sources = [Datasource(kits), Datasource(copies, test=True)]
    report = project.add_data(sources[::-1] if test_first else sources)
    assert [p.case_id for p in report.errors] == ["kits_04" if test_first else "copy_01"]
    assert len(project) == 8


def test_what_is_stored_wins_over_what_is_listed_first(project: Project, kits: Path, copies: Path) -> None:
    project.add_data([Datasource(kits)])
    report = project.add_data([Datasource(copies, test=True), Datasource(kits)])
    assert [p.case_id for p in report.errors] == ["copy_01"]


def test_patient_in_training_and_test(project: Project, kits: Path, tmp_path: Path) -> None:
    pattern = r"_(\d+)"
    other = write_cases(tmp_path / "raw" / "later", "later", 2, start=5)
    project.add_data([Datasource(kits, patient_pattern=pattern)])
    report = project.add_data([Datasource(other, test=True, patient_pattern=pattern)])
    (problem,) = report.errors
    assert problem.case_id == "later_05"
    assert problem.found.startswith(f"patient '05' also in {kits / 'images' / 'kits_05.nii.gz'}")


def test_flag_that_would_leak_is_not_changed(project: Project, kits: Path, copies: Path) -> None:
    project.add_data([Datasource(kits), Datasource(copies)])
    project.maybe_store_projectwide_properties()
    report = project.add_data([Datasource(copies)], test=True)
    (problem,) = report.errors
    assert problem.found.endswith("it stays a training case")
    flags = {c.case_id: c.test for c in project.cases() if c.ds == "copy"}
    assert flags == {"copy_00": True, "copy_01": False, "copy_02": True}


def test_leak_of_an_older_project_is_named_and_kept_out_of_every_split(
    project: Project, kits: Path, copies: Path
) -> None:
    project.add_data([Datasource(kits), Datasource(copies)])
    project.maybe_store_projectwide_properties()
    with project.database.transaction() as transaction:  # as a version stored it that only warned
        transaction._connection.execute("UPDATE datasources SET test = 1, fold = NULL WHERE ds = 'copy'")
    folds = {c.fold for c in project.cases() if c.ds == "kits" and c.case_id != "kits_04"}
    for fold in (*folds, "all"):
        split = project.split(fold)
        assert split.left_out == ("kits_04",)
        assert "kits_04" not in split.train + split.val
    report = project.add_data([Datasource(kits), Datasource(copies)], test=[False, True])
    assert [(p.case_id, p.what) for p in report.errors] == [("copy_01", "leakage")]
    assert len(project) == 9


def test_equal_label_maps_are_told_but_tie_nothing(project: Project, kits: Path, tmp_path: Path) -> None:
    other = write_cases(tmp_path / "raw" / "other", "other", 2, labels=(7,))
    shutil.copy(kits / "lms" / "kits_00.nii.gz", other / "lms" / "other_00.nii.gz")
    report = project.add_data([Datasource(kits), Datasource(other)])
    (problem,) = [p for p in report.problems if p.what == "equal label maps"]
    assert problem.case_id == "other_00"
    assert str(kits / "lms" / "kits_00.nii.gz") in problem.found
    assert report.ok
    project.add_data([Datasource(other)], test=True)
    assert len([c for c in project.cases() if c.test]) == 2


def test_empty_label_maps_are_not_copies(project: Project, tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "raw" / "mixed", "mixed", 3, labels=(1,))  # the second has no label
    empty = gzip.decompress((folder / "lms" / "mixed_01.nii.gz").read_bytes())
    (folder / "lms" / "mixed_02.nii.gz").write_bytes(gzip.compress(empty, mtime=0))
    (folder / "lms" / "mixed_01.nii.gz").write_bytes(gzip.compress(empty, mtime=0))
    report = project.add_data([Datasource(folder)])
    assert len(report.added) == 3
    assert not [p for p in report.problems if p.what == "equal label maps"]


def test_strict_leaves_out_what_is_warned_of(project: Project, tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "raw" / "mixed", "mixed", 4, labels=(1,))
    report = project.add_data([Datasource(folder, labels={1: "organ"}, modality="CT")], strict=True)
    assert {p.case_id for p in report.errors} == {"mixed_01", "mixed_03"}
    assert report.added == ["mixed_00", "mixed_02"]
    relaxed = project.add_data([Datasource(folder, labels={1: "organ"}, modality="CT")])
    assert relaxed.ok
    assert relaxed.added == ["mixed_01", "mixed_03"]


def test_verdicts_are_stored_and_written_beside(project: Project, kits: Path) -> None:
    (kits / "images" / "kits_01.nii.gz").write_bytes(b"")
    project.add_data([Datasource(kits, modality="CT")])
    stored = [v.problem for v in project.database.verdicts("kits")]
    assert [(p.case_id, p.severity) for p in stored if p.severity == "error"] == [("kits_01", "error")]
    qc = read_json(project.folders.quality)
    assert qc["counts"]["error"] == 1
    assert qc["cases"]["kits_01"] == "error"
    assert qc["problems"][0].keys() >= {"datasource", "case_id", "path", "what", "expected", "found", "next_step"}
    write_cases(kits, "kits", 1, start=1)
    project.add_data([Datasource(kits, modality="CT")])
    assert read_json(project.folders.quality)["counts"]["error"] == 0
    assert "error" not in {v.problem.severity for v in project.database.verdicts()}
