"""A project as a data set of nnU-Net: read back by fran's own reader of that layout, and by nibabel."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.errors import CasesFailed, ConfigError, StoreError
from fran.io.files import write_json
from fran.io.volume import read_volume, write_image, write_label_map
from fran.projects.folders import ProjectFolders
from fran.projects.nnunet_export import export_nnunet
from fran.projects.project import Project
from tests.datasources.other_layouts import write_decathlon, write_nnunet

from .raw_cases import write_cases


@pytest.fixture
def filled(project: Project, kits: Path, tmp_path: Path) -> Project:
    """Labels 1 and 2 of six training cases, label 7 of two test cases."""
    late = write_cases(tmp_path / "raw" / "late", "late", 2, labels=(1, 2))
    names = {1: "kidney", 2: "tumour"}
    project.add_data(
        [Datasource(kits, modality="CT", labels=names), Datasource(late, modality="CT", labels=names)], [False, True]
    )
    project.assign_folds(3)
    return project


def test_what_fits_is_linked(
    filled: Project,
    kits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fran.parallel.progress._FIRST_S", 0.0)
    folder = tmp_path / "nnUNet_raw" / "Dataset501_Organs"
    done = export_nnunet(filled, folder, progress=True)
    assert "export: 8 of 8 cases" in capsys.readouterr().err
    assert (done.n_training, done.n_test, done.converted, done.warnings) == (6, 2, (), ())
    assert (folder / "imagesTr" / "kits_03_0000.nii.gz").readlink() == kits / "images" / "kits_03.nii.gz"
    assert (folder / "labelsTs" / "late_01.nii.gz").resolve() == tmp_path / "raw" / "late" / "lms" / "late_01.nii.gz"
    assert json.loads((folder / "dataset.json").read_text()) == {
        "name": "Organs",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "kidney": 1, "tumour": 2},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    splits = json.loads((folder / "splits_final.json").read_text())
    assert splits == [{"train": list(s.train), "val": list(s.val)} for s in map(filled.split, range(3))]


def test_the_round_trip_keeps_cases_labels_and_folds(filled: Project, tmp_path: Path) -> None:
    done = export_nnunet(filled, tmp_path / "Dataset501_Organs")
    source = Datasource(done.folder)
    report = source.scan(tmp_path / "store")
    assert report.problems == []
    assert (source.modality, source.labels) == ("CT", {1: "kidney", 2: "tumour"})
    training = {c.case_id: (c.labels, c.image_digest) for c in filled.training_cases()}
    assert {r.case_id: (r.facts.labels, r.facts.image_stamp.digest) for r in report.records} == training


@pytest.mark.parametrize(
    ("write", "options", "channel"),
    [(partial(write_nnunet, channels=2), {"channel": "T2"}, "T2"), (write_decathlon, {}, "CT")],
)
def test_what_came_from_nnunet_goes_back_as_it_was(
    project: Project, tmp_path: Path, write: Callable[..., Path], options: dict[str, str], channel: str
) -> None:
    names = [f"la_{k}" for k in range(4)]
    stated = {"labels": {"background": 0, "Left Kidney": 1, "tumour": 2}}
    source = write(tmp_path / "in" / "Dataset017_LeftKidneyMR", names, stated=stated)
    project.add_data(Datasource(source, "kidney", **options))
    splits = [{"train": names[2:], "val": names[:2]}, {"train": names[:2], "val": names[2:]}]
    write_json(tmp_path / "splits.json", splits)
    project.take_folds(tmp_path / "splits.json")
    folder = export_nnunet(project, tmp_path / "out" / "Dataset017_LeftKidneyMR").folder
    written = json.loads((folder / "dataset.json").read_text())
    assert (written["name"], written["channel_names"]) == ("LeftKidneyMR", {"0": channel})
    assert written["labels"] == stated["labels"]
    assert json.loads((folder / "splits_final.json").read_text()) == splits
    again = Project("again", ProjectFolders("again", *(tmp_path / "second",) * 3))
    again.create()
    again.add_data(Datasource(folder, "kidney"))
    again.take_folds(folder / "splits_final.json")
    assert _facts(again) == _facts(project)
    third = export_nnunet(again, tmp_path / "third" / folder.name).folder
    for file in ("dataset.json", "splits_final.json"):
        assert (third / file).read_bytes() == (folder / file).read_bytes()


def test_a_stated_modality_is_the_channel(project: Project, tmp_path: Path) -> None:
    source = write_nnunet(tmp_path / "Dataset001_A", ["a_1", "a_2"], stated={"channel_names": {"0": "T2"}})
    project.add_data(Datasource(source, "a", modality="CT"))
    project.assign_folds(2)
    written = json.loads((export_nnunet(project, tmp_path / "Dataset002_A").folder / "dataset.json").read_text())
    assert written["channel_names"] == {"0": "CT"}


def _facts(project: Project) -> dict[str, tuple[object, ...]]:
    return {c.case_id: (c.fold, c.labels, c.modality, c.image_digest, c.lm_digest) for c in project.cases()}


def test_values_become_consecutive_and_the_way_is_written_down(
    project: Project, kits: Path, lits: Path, tmp_path: Path
) -> None:
    project.add_data(
        [
            Datasource(kits, modality="MR", labels={1: "kidney", 2: "tumour"}),
            Datasource(lits, modality="PET", labels={1: "liver", 3: "vessel"}),
        ]
    )
    project.set_lm_groups([["kits"], ["lits"]])
    project.assign_folds()
    done = export_nnunet(project, tmp_path / "Dataset502_Both")
    assert done.labels == {0: "background", 1: "kidney", 2: "tumour", 3: "liver", 4: "vessel"}
    assert [line for line in done.converted if "lits_0" in line] == [
        "labelsTr/lits_00.nii.gz: 1 -> 3, 3 -> 4",
        "labelsTr/lits_01.nii.gz: 1 -> 3",
        "labelsTr/lits_02.nii.gz: 1 -> 3, 3 -> 4",
        "labelsTr/lits_03.nii.gz: 1 -> 3",
    ]
    old = np.asarray(nibabel.load(lits / "lms" / "lits_02.nii.gz").dataobj)
    new = nibabel.load(done.folder / "labelsTr" / "lits_02.nii.gz")
    np.testing.assert_array_equal(np.asarray(new.dataobj), np.select([old == 1, old == 3], [3, 4], 0))
    np.testing.assert_array_equal(new.affine, nibabel.load(lits / "images" / "lits_02.nii.gz").affine)
    assert "kits does not annotate liver, vessel" in done.warnings[0]
    record = json.loads((done.folder / "fran_export.json").read_text())
    assert record["labels"][3] == {"value": 4, "name": "vessel", "output": 4, "origins": [["lits", 3, "vessel"]]}
    assert json.loads((done.folder / "dataset.json").read_text())["channel_names"] == {"0": "MR_PET"}
    alone = export_nnunet(project, tmp_path / "Dataset503_Alone", ["lits"])
    assert alone.labels == {0: "background", 1: "liver", 2: "vessel"}
    splits = json.loads((alone.folder / "splits_final.json").read_text())
    assert {case for fold in splits for case in fold["val"]} == {f"lits_0{k}" for k in range(4)}


def test_other_formats_and_grids_are_written_anew(project: Project, kits: Path, tmp_path: Path) -> None:
    image = read_volume(kits / "images" / "kits_01.nii.gz")
    (kits / "images" / "kits_01.nii.gz").unlink()
    write_image(kits / "images" / "kits_01.nrrd", image.array, image.native)
    for k, suffix in ((1, ".nrrd"), (2, ".nii.gz")):  # one in another format, one in another axis order
        path = kits / "lms" / f"kits_0{k}.nii.gz"
        lm = read_volume(path, role="lm")
        path.unlink()
        write_label_map(path.with_name(f"kits_0{k}{suffix}"), lm.array, lm.grid if k == 2 else lm.native)
    project.add_data(Datasource(kits, modality="CT", labels={1: "a", 2: "b"}))
    project.assign_folds()
    done = export_nnunet(project, tmp_path / "Dataset501_Organs", num_workers=1)
    assert done.converted == (
        "imagesTr/kits_01_0000.nii.gz: from kits_01.nrrd",
        "labelsTr/kits_01.nii.gz: from kits_01.nrrd",
        "labelsTr/kits_02.nii.gz: on the image's grid",
    )
    for k in (1, 2):
        new_image = nibabel.load(done.folder / "imagesTr" / f"kits_0{k}_0000.nii.gz")
        new_lm = nibabel.load(done.folder / "labelsTr" / f"kits_0{k}.nii.gz")
        np.testing.assert_allclose(new_image.affine, new_lm.affine, atol=1e-5)
        assert new_image.shape == new_lm.shape
    np.testing.assert_array_equal(read_volume(done.folder / "imagesTr" / "kits_01_0000.nii.gz").array, image.array)
    by_id = {c.case_id: c for c in project.cases()}
    for record in Datasource(done.folder).scan(tmp_path / "store").records:
        assert record.facts.labels == by_id[record.case_id].labels


def test_names_that_nnunet_would_not_take(filled: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Dataset<three digits>_<Name>, found 'organs'"):
        export_nnunet(filled, tmp_path / "organs")
    (tmp_path / "Dataset501_Other").mkdir()
    with pytest.raises(ConfigError, match="number 501 is taken by Dataset501_Other"):
        export_nnunet(filled, tmp_path / "Dataset501_Organs")
    with pytest.raises(ConfigError, match="expected a folder that is not there yet"):
        export_nnunet(filled, tmp_path / "Dataset501_Other")


def test_ct_beside_others_is_refused(filled: Project, lits: Path, tmp_path: Path) -> None:
    filled.add_data(Datasource(lits, modality="MR"))
    filled.assign_folds()
    with pytest.raises(ConfigError, match=r"found CT, MR; export some of them"):
        export_nnunet(filled, tmp_path / "Dataset501_Organs")


def test_nothing_is_left_where_a_case_fails(filled: Project, kits: Path, tmp_path: Path) -> None:
    (kits / "lms" / "kits_03.nii.gz").unlink()
    with pytest.raises(CasesFailed, match="kits_03"):
        export_nnunet(filled, tmp_path / "out" / "Dataset501_Organs")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_project_without_folds_says_what_to_do(project: Project, kits: Path, tmp_path: Path) -> None:
    project.add_data(Datasource(kits, modality="CT"))
    with pytest.raises(StoreError, match="fran project folds project=organs"):
        export_nnunet(project, tmp_path / "Dataset501_Organs")
