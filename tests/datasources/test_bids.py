"""BIDS data sets with label maps among their derivatives as datasources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project

from .other_layouts import tree, write_bids
from .raw_pairs import image_array, lm_array, save

SCANS = ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-A3")


def test_subjects_sessions_and_names(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "ds-lesions", SCANS)
    before = tree(folder)
    source = Datasource(folder)
    assert source.layout is not None
    assert source.layout.kind == "BIDS"
    assert source.layout.naming == (
        "images sub-*/…_T1w.*, label maps derivatives/manual/…_desc-manual_dseg.*; 4 images of 3 patients, "
        "cases are called like ds_lesions_sub-01_ses-1"
    )
    assert (source.name, source.modality, source.labels) == ("ds_lesions", "MR", {1: "lesion", 2: "oedema"})
    report = source.scan(tmp_path / "store")
    assert report.problems == []
    assert [(r.case_id, r.patient) for r in report.records] == [
        ("ds_lesions_sub-01_ses-1", "ds_lesions/sub-01"),
        ("ds_lesions_sub-01_ses-2", "ds_lesions/sub-01"),
        ("ds_lesions_sub-02_ses-1", "ds_lesions/sub-02"),
        ("ds_lesions_sub-A3", "ds_lesions/sub-A3"),
    ]
    first = report.records[0]
    assert first.image == folder / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz"
    assert first.lm.name == "sub-01_ses-1_desc-manual_dseg.nii.gz"
    assert tree(folder) == before


def project_of(tmp_path: Path) -> Project:
    project = Project("l", ProjectFolders("l", tmp_path / "p", tmp_path / "c", tmp_path / "r"))
    project.create()
    return project


def test_sessions_of_a_patient_are_in_one_fold(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", [f"sub-{k:02d}_ses-{s}" for k in range(5) for s in (1, 2)])
    project = project_of(tmp_path)
    project.add_data(Datasource(folder)).raise_for_errors()
    folds = project.assign_folds()
    assert [len({fold for case, fold in folds.items() if f"sub-{k:02d}" in case}) for k in range(5)] == [1] * 5
    assert len(set(folds.values())) == 5


def test_two_contrasts_of_a_patient_share_label_maps_and_so_no_project(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", SCANS)
    for k, path in enumerate(sorted(folder.glob("sub-*/**/*_T1w.nii.gz"))):
        save(path.with_name(path.name.replace("T1w", "FLAIR")), image_array(100 + k))
    project = project_of(tmp_path)
    one, two = (Datasource(folder, name=c, alias=c.lower(), channel=c) for c in ("T1w", "FLAIR"))
    assert [p.patient for p in one.pairs().pairs] == [p.patient for p in two.pairs().pairs]
    report = project.add_data([one, two])
    assert sorted(report.added) == [f"t1w_{scan}" for scan in SCANS]
    assert {(p.what, p.found) for p in report.errors} == {
        ("raw files", f"those of case t1w_{scan} of datasource T1w") for scan in SCANS
    }
    again = project.add_data([two, one])
    assert (len(again.unchanged), len(again.errors)) == (4, 4)


def test_masks_are_named_by_their_label(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "stroke", SCANS, lm="label-lesion_mask")
    for path in folder.rglob("*_mask.nii.gz"):
        save(path, (lm_array() > 0).astype(np.uint8))
    assert Datasource(folder).labels == {1: "lesion"}
    other = write_bids(tmp_path / "other", SCANS, lm="mask")
    assert Datasource(other).labels == {1: "mask"}


def test_several_kinds_have_to_be_chosen_among(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", SCANS)
    write_bids(folder, SCANS, lm="desc-auto_dseg", pipeline="network")
    with pytest.raises(
        ConfigError,
        match=r"found manual/desc-manual_dseg \(4\), network/desc-auto_dseg \(4\); .*=manual/desc-manual_dseg",
    ):
        Datasource(folder)
    with pytest.raises(
        ConfigError, match=r"derivative: expected one kind of label maps in derivatives/ for 'dseg', found 2 of"
    ):
        Datasource(folder, derivative="dseg")
    assert len(Datasource(folder, derivative="manual/desc-manual_dseg").pairs().pairs) == 4
    assert len(Datasource(folder, derivative="desc-auto").pairs().pairs) == 4
    chosen = Datasource(folder, derivative="network")
    assert {p.lm.parts[-5] for p in chosen.pairs().pairs if "ses" in p.case_id} == {"network"}
    assert chosen.labels is None, "the table is for desc-manual"
    save(folder / "sub-A3" / "anat" / "sub-A3_FLAIR.nii.gz", image_array(9))
    with pytest.raises(
        ConfigError, match=r"images of one kind, found FLAIR \(1\), T1w \(4\); choose one with channel=FLAIR"
    ):
        Datasource(folder, derivative="manual")
    flair = Datasource(folder, derivative="manual", channel="FLAIR").pairs()
    assert [p.case_id for p in flair.pairs] == ["lesions_sub-A3"]
    with pytest.raises(ConfigError, match="channel: expected one kind of images for 'T2w', found 0 of FLAIR"):
        Datasource(folder, derivative="manual", channel="T2w")


def test_runs_are_told_apart_and_bare_suffixes_are_kept(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", ("sub-1_run-1", "sub-1_run-2", "sub-2_acq-low"))
    place = folder / "derivatives" / "manual" / "sub-2" / "anat"
    (place / "sub-2_acq-low_desc-manual_dseg.nii.gz").rename(place / "sub-2_T1w_desc-manual_dseg.nii.gz")
    pairing = Datasource(folder).pairs()
    assert pairing.problems == []
    assert [(p.image.name, p.lm.name) for p in pairing.pairs] == [
        ("sub-1_run-1_T1w.nii.gz", "sub-1_run-1_desc-manual_dseg.nii.gz"),
        ("sub-1_run-2_T1w.nii.gz", "sub-1_run-2_desc-manual_dseg.nii.gz"),
        ("sub-2_acq-low_T1w.nii.gz", "sub-2_T1w_desc-manual_dseg.nii.gz"),
    ]


def test_faults_of_pairs(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", ("sub-1_run-1", "sub-1_run-2", "sub-2", "sub-3", "sub-4", "sub-5"))
    maps = folder / "derivatives" / "manual"
    (maps / "sub-1" / "anat" / "sub-1_run-2_desc-manual_dseg.nii.gz").unlink()
    one = maps / "sub-1" / "anat" / "sub-1_run-1_desc-manual_dseg.nii.gz"
    one.rename(one.with_name("sub-1_desc-manual_dseg.nii.gz"))
    (folder / "sub-2" / "anat" / "sub-2_T1w.nii.gz").unlink()
    (maps / "sub-3" / "anat" / "sub-3_desc-manual_dseg.nii.gz").unlink()
    (folder / "sub-4" / "anat" / "sub-4_T1w.nii").write_bytes(b"")
    found = {p.what: (p.case_id, p.severity) for p in Datasource(folder).pairs().problems}
    assert found == {
        "case name": ("sub-4", "error"),
        "label map of several images": ("sub-1_desc-manual", "error"),
        "label map without image": ("sub-4_desc-manual", "error"),
        "image without label map": ("lesions_sub-3", "warning"),
    }
    assert [p.case_id for p in Datasource(folder).pairs().pairs] == ["lesions_sub-5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,name\n1,lesion\n", r"desc-manual_dseg\.tsv: expected columns index and name, found KeyError"),
        ("index\tname\none\tlesion\n", "expected columns index and name, found ValueError"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    folder = write_bids(tmp_path / "lesions", SCANS)
    (folder / "derivatives" / "manual" / "desc-manual_dseg.tsv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Datasource(folder)


def test_tables_apply_below_them_and_must_agree(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", SCANS)
    maps = folder / "derivatives" / "manual"
    (maps / "desc-auto_dseg.tsv").write_text("index\tname\n1\tother\n")
    (folder / "dseg.tsv").write_text("index\tname\n3\tscar\n")
    assert Datasource(folder).labels == {1: "lesion", 2: "oedema"}, "nearest first"
    (maps / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_desc-manual_dseg.tsv").write_text("index\tname\n1\tscar\n")
    with pytest.raises(ConfigError, match=r"label 1: expected 'lesion' as in .*desc-manual_dseg\.tsv, found 'scar'"):
        Datasource(folder)


def test_folders_that_are_not_whole(tmp_path: Path, folder: Path) -> None:
    save(tmp_path / "b" / "sub-1" / "anat" / "sub-1_T1w.nii.gz", image_array())
    with pytest.raises(ConfigError, match="expected label maps in derivatives/ of a BIDS data set, found none"):
        Datasource(tmp_path / "b")
    with pytest.raises(ConfigError, match="derivative: expected a BIDS data set"):
        Datasource(folder, derivative="manual")


def test_relabelled_and_still_bids(tmp_path: Path) -> None:
    folder = write_bids(tmp_path / "lesions", SCANS)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    repair = Datasource(folder).relabel({2: 1})
    mended = Datasource(repair.folder)
    assert (mended.labels, len(mended.pairs().pairs)) == ({1: "lesion"}, 4)
    assert not (repair.folder / ".git").exists()
