"""Folders of nnU-Net and of the Medical Segmentation Decathlon as datasources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.layouts import case_ids
from fran.errors import CaseProblem, ConfigError
from fran.io.files import write_json

from .other_layouts import tree, write_decathlon, write_nnunet
from .raw_pairs import AFFINE, lm_array, save


def said(source: Datasource, store: Path) -> dict[str, CaseProblem]:
    """Problems of a scan by what they are about."""
    return {p.what: p for p in source.scan(store).problems}


def test_v2_is_read_in_place(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset004_Liver", ("liver_1", "BraTS-GLI_2", "liver_30"))
    (folder / "imagesTs").mkdir()
    before = tree(folder)
    source = Datasource(folder)
    assert source.layout is not None
    assert source.layout.kind == "nnU-Net v2"
    assert source.layout.naming.startswith("images imagesTr/<case>_0000.*, label maps labelsTr/<case>.*; 3 cases")
    assert (source.name, source.modality, source.labels) == ("Dataset004_Liver", "CT", {1: "liver", 2: "tumour"})
    report = source.scan(tmp_path / "store")
    assert report.problems == []
    assert [(r.case_id, r.image.name, r.lm.name, r.patient) for r in report.records] == [
        ("BraTS-GLI_2", "BraTS-GLI_2_0000.nii.gz", "BraTS-GLI_2.nii.gz", "Dataset004_Liver/BraTS-GLI_2"),
        ("liver_1", "liver_1_0000.nii.gz", "liver_1.nii.gz", "Dataset004_Liver/liver_1"),
        ("liver_30", "liver_30_0000.nii.gz", "liver_30.nii.gz", "Dataset004_Liver/liver_30"),
    ]
    assert tree(folder) == before
    assert source.scan(tmp_path / "store").n_read == 0


def test_the_decathlon(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "Task09_Spleen", ("spleen_2", "spleen_0010"))
    source = Datasource(folder)
    assert source.layout is not None
    assert source.layout.kind == "Medical Segmentation Decathlon"
    assert (source.modality, source.labels) == ("CT", {1: "liver", 2: "tumour"})
    report = source.scan(tmp_path / "store")
    assert [r.case_id for r in report.records] == ["spleen_0010", "spleen_2"]
    assert report.problems == []


def test_v1_has_the_decathlons_list_and_numbered_files(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "Task100_Liver", ("liver_1", "liver_2"))
    for image in (folder / "imagesTr").glob("l*.nii.gz"):
        image.rename(image.with_name(image.name.replace(".nii", "_0000.nii")))
    source = Datasource(folder)
    assert source.layout is not None
    assert source.layout.kind == "nnU-Net v1"
    report = source.scan(tmp_path / "store")
    assert [r.case_id for r in report.records] == ["liver_1", "liver_2"]
    assert report.problems == []


def test_files_that_dataset_json_lists_may_be_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nnunet(tmp_path / "Dataset001_A", ("a", "b"))
    monkeypatch.setenv("PLACE", str(tmp_path / "Dataset001_A"))
    folder = tmp_path / "Dataset002_B"
    (folder / "labelsTr").mkdir(parents=True)
    entry = {"images": ["../Dataset001_A/imagesTr/b_0000.nii.gz"], "label": "$PLACE/labelsTr/b.nii.gz"}
    write_json(
        folder / "dataset.json",
        {"channel_names": {"0": "MRI"}, "labels": {"liver": 1, "t": 2}, "dataset": {"x": entry}},
    )
    (record,) = Datasource(folder).scan(tmp_path / "store").records
    assert (record.case_id, record.modality, record.lm) == ("x", "MR", tmp_path / "Dataset001_A/labelsTr/b.nii.gz")


def test_one_of_several_channels_has_to_be_chosen(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset001_Brain", ("b_1", "b_2"), channels=2)
    with pytest.raises(ConfigError, match=r"found 2 channels: 0 T1, 1 T2; .*choose it with channel=0"):
        Datasource(folder)
    with pytest.raises(ConfigError, match="has none called 'T3'; choices: 0, 1, T1, T2"):
        Datasource(folder, channel="T3")
    for channel in (1, "1", "T2"):
        source = Datasource(folder, channel=channel)
        assert source.modality == "MR"
        assert [p.image.name for p in source.pairs().pairs] == ["b_1_0001.nii.gz", "b_2_0001.nii.gz"]


def test_a_missing_channel_leaves_out_a_case_that_needs_it(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset001_Brain", ("b_1", "b_2"), channels=2)
    (folder / "imagesTr" / "b_2_0001.nii.gz").unlink()
    for channel, severity, n in ((0, "warning", 2), (1, "error", 1)):
        pairing = Datasource(folder, channel=channel).pairs()
        (problem,) = pairing.problems
        assert (problem.case_id, problem.what, problem.severity) == ("b_2", "channels", severity)
        assert (problem.expected, problem.found) == ("images of the channels _0000, _0001", "_0000")
        assert len(pairing.pairs) == n


def test_four_dimensional_files_of_the_decathlon_are_refused(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "Task01_Brain", ("b_1",), {"modality": {"0": "FLAIR", "1": "T1w"}})
    with pytest.raises(ConfigError, match=r"0 FLAIR, 1 T1w together in 4-D files; .*nnUNetv2_convert_MSD_dataset"):
        Datasource(folder)


def test_channel_is_for_folders_that_have_some(folder: Path) -> None:
    with pytest.raises(ConfigError, match="channel: expected a folder of nnU-Net or BIDS"):
        Datasource(folder, channel=0)


def test_regions_become_labels_that_exclude_each_other(tmp_path: Path) -> None:
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    folder = write_nnunet(
        tmp_path / "Dataset001_B", ("b_1", "b_2"), stated={"labels": regions, "regions_class_order": [1, 2, 3]}
    )
    source = Datasource(folder)
    assert source.labels == {1: "whole_1", 2: "core_2", 3: "enhancing"}
    note = said(source, tmp_path / "store")["regions"]
    assert (note.severity, note.found) == ("note", "core = 2 + 3; whole = 1 + 2 + 3")
    assert "1 whole_1, 2 core_2, 3 enhancing" in note.next_step


def test_cases_with_the_ignore_label_are_left_out(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset001_B", ("b_1", "b_2"), stated={"labels": {"a": 1, "b": 2, "ignore": 3}})
    lm = lm_array()
    lm[0] = 3
    save(folder / "labelsTr" / "b_2.nii.gz", lm)
    report = Datasource(folder).scan(tmp_path / "store")
    found = {p.what: p for p in report.problems}
    assert "nobody judged" in found["ignore label"].found
    assert (found["label values"].case_id, [r.case_id for r in report.records]) == ("b_2", ["b_1"])


def _missing_label(folder: Path) -> None:
    (folder / "labelsTr" / "b_2.nii.gz").unlink()


def _missing_image(folder: Path) -> None:
    (folder / "imagesTr" / "b_2.nii.gz").unlink()


def _both_missing(folder: Path) -> None:
    _missing_label(folder)
    _missing_image(folder)


def _doubled(folder: Path) -> None:
    (folder / "labelsTr" / "b_2.nii").write_bytes(b"")


def _unknown_value(folder: Path) -> None:
    lm = lm_array()
    lm[0] = 7
    save(folder / "labelsTr" / "b_2.nii.gz", lm)


@pytest.mark.parametrize(
    ("spoil", "what", "path", "step"),
    [
        (_missing_label, "image without label map", "imagesTr/b_2.nii.gz", "add it"),
        (_missing_image, "label map without image", "labelsTr/b_2.nii.gz", "add it"),
        (_both_missing, "listed case", "dataset.json", "restore its files"),
        (_doubled, "case name", "labelsTr/b_2.nii", "move all but one out"),
        (_unknown_value, "label values", "labelsTr/b_2.nii.gz", "fran fix relabel {folder} 'remapping={{7: 0}}'"),
    ],
)
def test_a_broken_case_is_left_out_by_name(
    tmp_path: Path, spoil: Callable[[Path], None], what: str, path: str, step: str
) -> None:
    folder = write_decathlon(tmp_path / "Task09_B", ("b_1", "b_2", "b_3"))
    spoil(folder)
    report = Datasource(folder).scan(tmp_path / "store")
    (error,) = report.errors
    assert (error.case_id, error.what, error.path) == ("b_2", what, str(folder / path))
    assert step.format(folder=folder) in error.next_step
    assert [r.case_id for r in report.records] == ["b_1", "b_3"]


@pytest.mark.parametrize(
    ("stated", "what", "found"),
    [
        ({"numTraining": 5}, "number of cases", "numTraining 5, and 3 cases in imagesTr"),
        (
            {"training": [{"image": "b_1.nii.gz", "label": "b_1.nii.gz"}]},
            "cases not listed",
            "2 cases that are not: b_2, b_3",
        ),
        (
            {"training": [{"image": f"b_{k}.nii.gz", "label": f"b_{k}.nii.gz"} for k in (1, 2, 3, 3)]},
            "listed twice",
            "twice b_3",
        ),
        ({"labels": None}, "dataset.json", "none"),
    ],
)
def test_a_list_that_does_not_fit_is_a_warning(
    tmp_path: Path, stated: dict[str, object], what: str, found: str
) -> None:
    folder = write_decathlon(tmp_path / "Task09_B", ("b_1", "b_2", "b_3"), stated)
    report = Datasource(folder).scan(tmp_path / "store")
    warning = next(p for p in report.problems if p.what == what)
    assert (warning.severity, warning.found, warning.case_id) == ("warning", found, "Task09_B")
    assert len(report.records) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "dataset.json: expected JSON, found .*; correct the file"),
        ("[]", "expected a mapping with labels"),
        ('{"labels": ["liver"]}', 'labels: expected {"background": 0'),
        ('{"labels": {"liver": "one"}}', "labels: expected"),
        ('{"channel_names": ["CT"]}', 'channel_names: expected {"0": "CT"'),
        ('{"numTraining": "3"}', "numTraining: expected a whole number, found '3'"),
        ('{"modality": {"0": "CT"}, "training": ["x"]}', "training: expected"),
        ('{"dataset": {"x": {"label": "x"}}}', "dataset: expected"),
        ('{"labels": {"a": 1, "b": 70000}}', "labels: expected a name for each value"),
    ],
)
def test_a_dataset_json_that_cannot_be_meant(tmp_path: Path, text: str, message: str) -> None:
    folder = write_nnunet(tmp_path / "Dataset001_A", ("a_1",))
    (folder / "dataset.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Datasource(folder)


def test_ids_of_names_that_file_systems_mind(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "my-data 3", ("case 1.5", "case_2"))
    source = Datasource(folder, alias="heart")
    assert source.name == "my_data_3"
    assert [p.case_id for p in source.pairs().pairs] == ["heart_case-1-5", "heart_case_2"]
    with pytest.raises(ConfigError, match=r"found 'a\.b', 'a b'"):
        case_ids(["a.b", "a b"], None)


def test_an_empty_folder_says_what_goes_where(tmp_path: Path) -> None:
    (tmp_path / "Dataset001_A" / "imagesTr").mkdir(parents=True)
    found = said(Datasource(tmp_path / "Dataset001_A"), tmp_path / "store")
    assert str(tmp_path / "Dataset001_A" / "labelsTr") in found["pairs"].next_step
    assert found["dataset.json"].severity == "warning"


def test_repairs_are_written_in_the_same_layout(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset001_B", ("b_1", "b_2"), channels=2)
    source, before = Datasource(folder, channel=1), tree(folder)
    repair = source.relabel({2: 1})
    mended = Datasource(repair.folder, channel=1)
    assert mended.labels == {1: "liver"}
    assert [p.case_id for p in mended.pairs().pairs] == ["b_1", "b_2"]
    assert mended.pairs().problems == []
    assert {v for r in mended.scan(tmp_path / "store").records for v in r.facts.labels} == {1}
    shifted = AFFINE + 3e-5 * np.eye(4, 4, 3)
    save(folder / "labelsTr" / "b_2.nii.gz", lm_array(), shifted)
    repair = source.harmonise()
    assert repair.changes[0].startswith("labelsTr/b_2.nii.gz: corners moved")
    assert (repair.folder / "dataset.json").is_file()
    assert tree(folder).keys() == before.keys()


def test_what_is_not_done_to_a_folder_of_others(tmp_path: Path) -> None:
    source = Datasource(write_nnunet(tmp_path / "Dataset001_B", ("b_1", "b_2")))
    with pytest.raises(ConfigError, match="names need not be mended"):
        source.rename_files()
    with pytest.raises(ConfigError, match="names need not be mended"):
        source.rename_duplicates()
    with pytest.raises(ConfigError, match="nothing is written into a folder of nnU-Net v2"):
        source.relabel({2: 1}, in_place=True)
