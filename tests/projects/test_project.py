from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.errors import CasesFailed, ConfigError, StoreError
from fran.io.files import read_json, write_json
from fran.projects.folders import ProjectFolders
from fran.projects.links import make_link
from fran.projects.project import Project

from .raw_cases import write_cases


def links(project: Project) -> dict[str, str]:
    return {str(p.relative_to(project.folders.raw)): str(p.readlink()) for p in project.folders.raw.rglob("*.nii.gz")}


def test_old_api_line_by_line(folders: ProjectFolders, kits: Path, lits: Path) -> None:
    project = Project(project_title="organs", folders=folders)
    project.create(mnemonic="kidneys")
    project.add_data([{"ds": "kits", "folder": str(kits), "alias": None}, Datasource(lits)])
    project.set_lm_groups([["kits"], ["lits"]])
    project.maybe_store_projectwide_properties()
    assert len(project) == 10
    assert project.datasources == ["kits", "lits"]
    assert project.has_folds
    assert project.labels.values == (1, 2, 3)
    assert project.label_groups.mapping == {"kits": {1: 1, 2: 2}, "lits": {1: 3, 3: 4}}
    assert project.mnemonic == "kidneys"


def test_rows_and_links(project: Project, kits: Path) -> None:
    report = project.add_data([Datasource(kits, labels={1: "kidney", 2: "tumour"})])
    assert report.ok
    assert len(report.added) == 6
    row = project.cases()[1]
    assert (row.case_id, row.ds, row.fold, row.test, row.modality) == ("kits_01", "kits", None, False, "CT")
    assert (row.labels, row.has_foreground, row.size, row.patient) == ({1: 24}, True, (6, 10, 8), "kits_01")
    assert row.spacing_mm == pytest.approx((0.9, 2.0, 1.1))
    assert row.img_symlink == project.folders.raw_images / "kits_01.nii.gz"
    assert row.img_symlink.read_bytes() == row.image.read_bytes()
    assert row.lm_symlink.resolve() == row.lm.resolve()
    assert project.labels.names == {1: "kidney", 2: "tumour"}


def test_unassigned_fold_is_null(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    with sqlite3.connect(project.folders.database) as connection:
        assert connection.execute("SELECT count(*) FROM datasources WHERE fold IS NULL").fetchone() == (6,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not project.has_folds
    with pytest.raises(StoreError, match="6 of 6 without one"):
        project.split(0)


def test_adding_again_changes_nothing_and_one_more_adds_one(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    project.maybe_store_projectwide_properties()
    before, folds = project.cases(), {c.case_id: c.fold for c in project.cases()}
    again = project.add_data([Datasource(kits)])
    assert (again.added, again.updated, len(again.unchanged)) == ([], [], 6)
    assert project.cases() == before
    write_cases(kits, "kits", 1, start=6)
    report = project.add_data([Datasource(kits)])
    assert (report.added, report.scans[0].n_read) == (["kits_06"], 1)
    assert not project.has_folds
    project.maybe_store_projectwide_properties()
    assert {c.case_id: c.fold for c in project.cases() if c.case_id != "kits_06"} == folds


def test_a_stored_case_whose_file_is_spoilt_stays_and_that_is_said(project: Project, kits: Path) -> None:
    project.add_data({"ds": "kits", "folder": kits, "alias": None})
    stored = project.cases()
    image = stored[0].image
    content = image.read_bytes()
    image.write_bytes(content[:200])
    report = project.add_data({"ds": "kits", "folder": kits, "alias": None})
    of_case = {p.severity: p for p in report.problems if p.case_id == stored[0].case_id}
    assert set(of_case) == {"error", "warning"}
    assert "the case stays in the project" in of_case["warning"].found
    assert project.cases() == stored
    image.write_bytes(content)
    mended = project.add_data({"ds": "kits", "folder": kits, "alias": None})
    assert [p for p in mended.problems if p.case_id == stored[0].case_id] == []


def test_changed_label_map_updates_and_keeps_the_fold(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    project.maybe_store_projectwide_properties()
    path = kits / "lms" / "kits_02.nii.gz"
    stored = nibabel.load(path)
    changed = np.asarray(stored.dataobj).copy()
    changed[0, 0, 0] = 5
    nibabel.save(nibabel.Nifti1Image(changed, stored.affine), path)
    before = project.cases()[2]
    report = project.add_data([Datasource(kits)])
    after = project.cases()[2]
    assert report.updated == ["kits_02"]
    assert after.labels == {**before.labels, 5: 1}
    assert after.fold == before.fold


def test_good_cases_are_stored_beside_bad_ones(project: Project, kits: Path) -> None:
    (kits / "images" / "kits_01.nii.gz").write_bytes(b"")
    (kits / "lms" / "kits_03.nii.gz").unlink()
    report = project.add_data([Datasource(kits)])
    assert len(project) == 4
    assert {p.case_id for p in report.errors} == {"kits_01", "kits_03"}
    with pytest.raises(CasesFailed, match="4 good cases are stored"):
        report.raise_for_errors()


def test_crash_in_the_middle_leaves_the_old_state(
    project: Project, kits: Path, lits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add_data([Datasource(kits)])
    before = project.cases(), project.datasources, links(project)

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fran.projects.database.Transaction.put_cases", fail)
    with pytest.raises(KeyboardInterrupt):
        project.add_data([Datasource(lits)])
    assert (project.cases(), project.datasources, links(project)) == before
    monkeypatch.undo()
    assert len(project.add_data([Datasource(lits)]).added) == 4


def test_case_id_taken_by_another_datasource(project: Project, kits: Path, tmp_path: Path) -> None:
    other = write_cases(tmp_path / "elsewhere" / "kits2", "kits", 2, labels=(4,), start=5)
    report = project.add_data([Datasource(kits), Datasource(other, name="kits2", alias="kits")])
    assert len(project) == 7
    (problem,) = report.errors
    assert (problem.case_id, problem.what) == ("kits_05", "case id")
    assert str(kits / "images" / "kits_05.nii.gz") in problem.found
    assert project.cases()[5].image == kits / "images" / "kits_05.nii.gz"


def test_nothing_of_others_is_overwritten(project: Project, kits: Path) -> None:
    taken = project.folders.raw_images / "kits_00.nii.gz"
    taken.write_text("mine")
    report = project.add_data([Datasource(kits)])
    assert taken.read_text() == "mine"
    assert [p.case_id for p in report.errors] == ["kits_00"]
    assert len(project) == 5


def test_moved_raw_data_are_relinked(project: Project, kits: Path, tmp_path: Path) -> None:
    project.add_data([Datasource(kits)])
    moved = kits.rename(tmp_path / "raw" / "kits_moved")
    report = project.add_data([Datasource(moved, name="kits")])
    assert len(report.updated) == 6
    assert set(map(os.path.dirname, links(project).values())) == {str(moved / "images"), str(moved / "lms")}


def test_one_name_for_two_folders(project: Project, kits: Path, lits: Path) -> None:
    project.add_data([Datasource(kits)])
    with pytest.raises(ConfigError, match="expected one folder a name"):
        project.add_data([Datasource(lits, name="kits", alias="lits")])


def test_test_cases_stay_out_of_folds(project: Project, kits: Path, lits: Path) -> None:
    project.add_data([Datasource(kits), Datasource(lits, test=True)])
    project.maybe_store_projectwide_properties()
    assert {c.fold for c in project.cases() if c.ds == "lits"} == {None}
    split = project.split(0)
    assert not [c for c in split.train + split.val if c.startswith("lits")]
    assert len(split.train + split.val) == 6
    mirror = read_json(project.folders.validation_folds)
    assert mirror["test"] == [f"lits_{k:02d}" for k in range(4)]
    assert sorted(mirror["fold_0"]) == list(split.val)


def test_training_case_becomes_test_case(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    project.maybe_store_projectwide_properties()
    report = project.add_data([Datasource(kits)], test=True)
    assert {c.fold for c in project.cases()} == {None}
    assert {p.what for p in report.problems if p.severity == "warning"} == {"test flag"}


def test_number_of_test_flags(project: Project, kits: Path) -> None:
    with pytest.raises(ConfigError, match="one for each of 1 datasources"):
        project.add_data([Datasource(kits)], test=[True, False])


def test_one_case_trains_and_validates_on_itself(project: Project, tmp_path: Path) -> None:
    project.add_data(Datasource(write_cases(tmp_path / "raw" / "one", "one", 1, labels=(1, 2, 3))))
    project.maybe_store_projectwide_properties()
    split = project.split(0)
    assert (split.train, split.val, split.self_validated) == (("one_00",), ("one_00",), True)


def test_copies_across_datasources_are_warned_of_and_share_a_fold(project: Project, kits: Path, tmp_path: Path) -> None:
    copy = write_cases(tmp_path / "raw" / "copy", "copy", 3)
    (copy / "images" / "copy_01.nii.gz").write_bytes((kits / "images" / "kits_04.nii.gz").read_bytes())
    report = project.add_data([Datasource(kits), Datasource(copy)])
    assert [p.case_id for p in report.problems if p.what == "copies"] == ["copy_01"]
    folds = project.maybe_store_projectwide_properties() and {c.case_id: c.fold for c in project.cases()}
    assert folds["copy_01"] == folds["kits_04"]


def test_one_value_with_two_names(project: Project, kits: Path, lits: Path) -> None:
    sources = [Datasource(kits, labels={1: "kidney", 2: "tumour"}), Datasource(lits, labels={1: "liver", 3: "cyst"})]
    report = project.add_data(sources)
    (problem,) = [p for p in report.problems if p.what == "label 1"]
    assert "'kidney' in kits, 'liver' in lits" in problem.found
    project.set_lm_groups([["kits"], ["lits"]])
    assert not [p for p in project.add_data(sources).problems if p.what == "label 1"]


def test_mask_labels_keep_what_a_person_wrote(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    write_json(project.folders.mask_labels, {"1": {"dusting_threshold": 300, "k_largest": 1}})
    project.maybe_store_projectwide_properties()
    stored = read_json(project.folders.mask_labels)
    assert stored == {
        "1": {"dusting_threshold": 300, "k_largest": 1, "fill_holes": False, "name": "label_1"},
        "2": {"dusting_threshold": 0, "k_largest": None, "fill_holes": False, "name": "label_2"},
    }


def test_plans(project: Project) -> None:
    first = project.store_plan("plan1", "spacing: [1, 1, 1]", {"source": ("1a2b", "spc_100_1a2b")})
    assert project.store_plan("plan1", "spacing: [1, 1, 1]", {"source": ("1a2b", "spc_100_1a2b")}) == first
    assert project.store_plan("plan1", "spacing: [2, 1, 1]") != first
    plan = project.plans[0]
    assert (plan.name, plan.stages) == ("plan1", {"source": ("1a2b", "spc_100_1a2b")})


def test_hostile_names_are_only_text(project: Project) -> None:
    name = "x'); DROP TABLE master_plans; --"
    project.store_plan(name, "")
    assert [p.name for p in project.plans] == [name]


def test_lm_groups_are_checked(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    with pytest.raises(ConfigError, match="unknown datasource 'kit'; did you mean 'kits'"):
        project.set_lm_groups([["kit"]])


def test_create_again_and_other_mnemonic(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    project.create("test")
    assert len(project) == 6
    with pytest.raises(ConfigError, match="expected 'test', that of project organs, found 'liver'"):
        project.create("liver")


def test_project_that_was_not_created(folders: ProjectFolders, kits: Path) -> None:
    project = Project("organs", folders)
    assert not project.exists
    with pytest.raises(StoreError, match="create the project first"):
        project.add_data([Datasource(kits)])
    assert not folders.project.exists()


def test_other_schema_version(project: Project) -> None:
    with sqlite3.connect(project.folders.database) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="expected schema version 2 or older, found 99"):
        len(project)


def test_file_that_is_no_database(project: Project) -> None:
    for path in project.folders.project.glob("cases.db*"):
        path.unlink()
    project.folders.database.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"cases\.db"):
        project.cases()


def test_delete_leaves_raw_data_and_results(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    result = project.folders.checkpoints / "run" / "best.ckpt"
    result.parent.mkdir(parents=True)
    result.touch()
    project.delete()
    assert not project.folders.project.exists()
    assert not project.folders.raw.exists()
    assert len(list((kits / "images").iterdir())) == 6
    assert result.exists()
    project.delete(results=True)
    assert not project.folders.checkpoints.exists()


def test_title_must_be_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="project title"):
        ProjectFolders("../x", tmp_path, tmp_path, tmp_path)


def test_layout(tmp_path: Path) -> None:
    folders = ProjectFolders("p", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid", tmp_path / "ckpt")
    assert folders.fixed_spacing == tmp_path / "cold/datasets/preprocessed/p/fixed_spacing"
    assert folders.raw_images == tmp_path / "cold/datasets/raw_data/p/images"
    assert folders.lbd == tmp_path / "rapid/p/lbd"
    assert folders.predictions == tmp_path / "cold/predictions/p"
    assert folders.checkpoints == tmp_path / "ckpt/p"
    assert not (tmp_path / "projects").exists()


def test_link_replaced_atomically(tmp_path: Path) -> None:
    link = tmp_path / "link"
    make_link(link, tmp_path / "a")
    make_link(link, tmp_path / "b")
    assert link.readlink() == tmp_path / "b"
    assert list(tmp_path.iterdir()) == [link]


def test_what_a_datasource_declares_is_stored(project: Project, kits: Path) -> None:
    declared = Datasource(kits, labels={1: "kidney", 2: "cyst"}, annotated=["kidney"], modality="CT", test=True)
    project.add_data([declared])
    stored = project.database.sources()["kits"]
    assert (stored.annotated, stored.modality, stored.test, stored.ds_type) == ((1,), "CT", True, "full")
    project.add_data([Datasource(kits)])
    assert project.database.sources()["kits"].annotated is None


def test_patches_of_a_case_share_a_fold(project: Project, kits: Path, tmp_path: Path) -> None:
    patches = tmp_path / "raw" / "cut"
    for side in ("images", "lms"):
        (patches / side).mkdir(parents=True)
        for k, path in enumerate(sorted((kits / side).iterdir())):
            (patches / side / f"cut_{k // 2:02d}_{k % 2}.nii.gz").write_bytes(path.read_bytes())
    report = project.add_data([Datasource(patches, ds_type="patch")])
    assert len(report.added) == 6
    folds = project.assign_folds()
    assert all(folds[f"cut_{k:02d}_0"] == folds[f"cut_{k:02d}_1"] for k in range(3))
    assert len(set(folds.values())) == 3
    assert project.database.sources()["cut"].ds_type == "patch"
