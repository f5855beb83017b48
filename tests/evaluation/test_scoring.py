"""Scoring of real files in folders."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fran.errors import ConfigError, DataError
from fran.evaluation.intervals import Bootstrap
from fran.evaluation.measures import Measures, Tolerances
from fran.evaluation.report import read_scores, show_scores, write_scores
from fran.evaluation.scoring import score_folder
from fran.evaluation.summary import summarise
from fran.geometry import Grid, Reorientation
from fran.io.volume import write_label_map

SHAPE = (6, 9, 5)


def _grid(shift_mm: float = 0.0) -> Grid:
    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.8, 1.2, 3.0]
    affine[:3, 3] = [-30.0 + shift_mm, 12.5, 100.0]
    return Grid(SHAPE, affine)


def _lm(*boxes: tuple[int, slice]) -> np.ndarray:
    lm = np.zeros(SHAPE, np.uint8)
    for value, along_x in boxes:
        lm[along_x, 2:5, 1:3] = value
    return lm


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Case 1: label 1 half covered, label 2 missed; case 2: label 1 perfect, label 2 in neither; case 3: missing."""
    pred, gt = tmp_path / "pred", tmp_path / "ds" / "lms"
    write_label_map(gt / "kits_1.nii.gz", _lm((1, slice(0, 2)), (2, slice(4, 6))), _grid())
    write_label_map(gt / "kits_2.nii.gz", _lm((1, slice(0, 2))), _grid())
    write_label_map(gt / "kits_3.nii.gz", _lm((1, slice(0, 2))), _grid())
    write_label_map(pred / "kits_1.nrrd", _lm((1, slice(1, 3))), _grid())
    write_label_map(pred / "run_2_late.mha", _lm((1, slice(0, 2))), _grid())
    return pred, gt.parent


def test_rows_and_summary(folders: tuple[Path, Path]) -> None:
    table = score_folder(*folders, names={1: "kidney", 2: "tumour"})
    by_key = {(s.case_id, s.label): s for s in table.scores}
    assert set(by_key) == {("kits_1", 1), ("kits_1", 2), ("kits_2", 1), ("kits_2", 2)}
    first = by_key["kits_1", 1]
    assert first.dice == pytest.approx(0.5)
    assert (first.name, first.pred_vox, first.ref_vox) == ("kidney", 12, 12)
    assert first.ref_mm3 == pytest.approx(12 * 0.8 * 1.2 * 3.0, rel=1e-5)
    assert by_key["kits_1", 2].dice == 0
    assert math.isnan(by_key["kits_2", 2].dice)
    assert [s.dice for s in table.worst(2)] == [0, 0.5]


def test_a_missing_prediction_is_an_error_and_an_extra_one_a_note(folders: tuple[Path, Path]) -> None:
    write_label_map(folders[0] / "kits_9.nii", _lm((1, slice(0, 2))), _grid())
    table = score_folder(*folders)
    assert (table.n_references, table.n_scored, table.n_unscored, table.missing) == (3, 2, 1, ("kits_3",))
    assert [(p.case_id, p.severity) for p in table.problems] == [("kits_3", "error"), ("kits_9", "note")]


def test_orientation_and_format_do_not_matter(folders: tuple[Path, Path]) -> None:
    pred, gt = folders
    before = score_folder(pred, gt).scores
    turn = Reorientation((2, 0, 1), (True, False, True))
    native = Grid.from_dict(turn.apply_grid(_grid()).to_dict())
    write_label_map(pred / "kits_1.nrrd", _lm((1, slice(1, 3))), native)
    assert native.orientation != _grid().orientation
    after = score_folder(pred, gt).scores
    assert repr(after) == repr(before)


@pytest.mark.parametrize(("shift_mm", "severity", "n_scored"), [(0.02, "warning", 1), (5.0, "error", 0)])
def test_differing_grids_name_both(tmp_path: Path, shift_mm: float, severity: str, n_scored: int) -> None:
    write_label_map(tmp_path / "gt" / "kits_1.nii.gz", _lm((1, slice(0, 2))), _grid())
    write_label_map(tmp_path / "pred" / "kits_1.nii.gz", _lm((1, slice(0, 2))), _grid(shift_mm))
    table = score_folder(tmp_path / "pred", tmp_path / "gt")
    (problem,) = table.problems
    assert problem.severity == severity
    assert "origin" in problem.expected
    assert "origin" in problem.found
    assert len(table.scores) == n_scored


def test_an_unreadable_prediction_does_not_stop_the_others(folders: tuple[Path, Path]) -> None:
    (folders[0] / "kits_3.nii.gz").write_bytes(b"")
    table = score_folder(*folders)
    assert {s.case_id for s in table.scores} == {"kits_1", "kits_2"}
    (problem,) = table.errors
    assert "empty file" in problem.found
    assert (table.missing, table.n_unscored) == ((), 1)


def test_names_come_from_the_provenance_beside_the_predictions(folders: tuple[Path, Path]) -> None:
    stored = {"labels": {"values": [1, 2], "names": {"1": "kidney", "2": "tumour"}}}
    (folders[0] / "kits_1.json").write_text(json.dumps(stored))
    (folders[0] / "run_2_late.json").write_text("half a fi")
    assert {s.name for s in score_folder(*folders).scores} == {"kidney", "tumour"}
    (folders[1] / "labels.json").write_text('{"1": "organ", "2": "lesion"}')
    assert {s.name for s in score_folder(*folders).scores} == {"kidney", "tumour"}, "what was predicted comes first"
    (folders[0] / "kits_1.json").unlink()
    assert {s.name for s in score_folder(*folders).scores} == {"organ", "lesion"}
    (folders[1] / "labels.json").write_text("[1]")
    assert {s.name for s in score_folder(*folders).scores} == {"label_1", "label_2"}


@pytest.mark.parametrize("which", ["missing", "empty", "twice"])
def test_folders_that_cannot_be_scored(folders: tuple[Path, Path], tmp_path: Path, which: str) -> None:
    pred = tmp_path / "empty" if which == "empty" else folders[0]
    if which == "missing":
        pred = tmp_path / "nowhere"
    elif which == "empty":
        pred.mkdir()
    else:
        write_label_map(pred / "kits_1.nii.gz", _lm((1, slice(1, 3))), _grid())
    with pytest.raises(DataError, match=str(pred)):
        score_folder(pred, folders[1])


HOW = Bootstrap(samples=200)


def test_reports(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = score_folder(*folders, names={1: "kidney", 2: "tumour"})
    summary = summarise(table.scores, table.measures, HOW)
    csv_path, json_path = write_scores(table, summary, HOW, tmp_path / "out")
    rows = list(csv.DictReader(csv_path.open()))
    assert [r["dice"] for r in rows] == ["0.5", "0.0", "1.0", ""]
    assert [r["hd95_mm"][:3] for r in rows] == ["0.8", "inf", "0.0", ""]
    stored = json.loads(json_path.read_text(), parse_constant=pytest.fail)
    assert (stored["references"], stored["missing_predictions"], stored["unscored"]) == (3, ["kits_3"], 1)
    assert stored["scores"][3]["dice"] is None
    assert stored["summary"][1]["hd95_mm"]["infinite"] == 1
    console = Console(record=True, width=200, file=(tmp_path / "log").open("w"))
    show_scores(table, summary, console)
    shown = console.export_text()
    assert "0.500–1.000" in shown
    assert "kits_3" in shown
    assert "2 of 3 references" in shown


def test_a_table_is_read_back_as_it_was(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for measures in (Measures(), Measures(("nsd",))):
        table = score_folder(*folders, names={1: "kidney", 2: "tumour"}, measures=measures)
        csv_path, _ = write_scores(table, summarise(table.scores, measures, HOW), HOW, tmp_path)
        back = [{k: v for k, v in vars(s).items() if not _nothing(v)} for s in read_scores(csv_path)]
        assert back == [{k: v for k, v in vars(s).items() if not _nothing(v)} for s in table.scores]


def _nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def test_only_what_was_asked_for_is_measured(folders: tuple[Path, Path]) -> None:
    everything = score_folder(*folders).scores
    alone = score_folder(*folders, measures=Measures(("nsd",))).scores
    assert [s.dice for s in alone[:3]] == [s.dice for s in everything[:3]]
    assert [s.nsd for s in alone[:3]] == [s.nsd for s in everything[:3]] != [1, 1, 1]
    assert {s.hd95_mm for s in alone} == {s.tp for s in alone} == {s.f1 for s in alone} == {None}
    assert everything[0].tp == 1


def test_tolerances_by_name_and_value(folders: tuple[Path, Path]) -> None:
    names = {1: "kidney", 2: "tumour"}
    assert Tolerances.parse({"kidney": 0.5, 2: 1, "rest": 4}, names) == Tolerances(4.0, {1: 0.5, 2: 1.0})
    assert Tolerances.parse({"1": 3}, {}).of(9) == 2.0
    strict, loose = (score_folder(*folders, names=names, nsd_mm=mm).scores[0].nsd for mm in ({"kidney": 0.5}, 1))
    assert 0 < strict < loose == 1
    for bad, words in (({"liver": 1}, "choices: kidney, tumour"), ("far", "found far"), ({"kidney": -1}, "found -1")):
        with pytest.raises(ConfigError, match=words):
            Tolerances.parse(bad, names)


@pytest.mark.slow
def test_processes_change_nothing(folders: tuple[Path, Path]) -> None:
    (folders[0] / "kits_3.nii.gz").write_bytes(b"")
    seen: list[tuple[int, int]] = []
    apart = score_folder(*folders, num_processes=2, on_case=lambda *done: seen.append(done))
    assert repr(apart) == repr(score_folder(*folders, num_processes=1))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_many_missing_predictions_are_one_problem_that_names_them(folders: tuple[Path, Path]) -> None:
    for number in (4, 5, 6):
        write_label_map(folders[1] / "lms" / f"kits_{number}.nii.gz", _lm((1, slice(0, 2))), _grid())
    table = score_folder(*folders)
    (problem,) = table.errors
    assert problem.case_id == "4 cases"
    assert problem.found == "none for kits_3, kits_4, kits_5, kits_6"
    assert table.n_unscored == 4


def test_the_predicted_cases_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = score_folder(*folders, predicted_only=True)
    assert (table.n_references, table.n_scored, table.missing, table.left_out) == (2, 2, (), ("kits_3",))
    ((problem,), errors) = table.problems, table.errors
    assert (problem.severity, errors) == ("note", ()) and "kits_3" in problem.found
    summary = summarise(table.scores, table.measures, HOW)
    _, written = write_scores(table, summary, HOW, tmp_path)
    assert json.loads(written.read_text())["left_out"] == ["kits_3"]
    console = Console(record=True, width=120)
    show_scores(table, summary, console)
    said = console.export_text()
    assert (
        "1 reference without a prediction left out" in said
        and "2 of 2 references with a prediction (1 without)" in said
    )
    for path in folders[0].iterdir():
        path.unlink()
    write_label_map(folders[0] / "lits_9.nii.gz", _lm((1, slice(0, 2))), _grid())
    nothing = score_folder(*folders, predicted_only=True)
    assert (nothing.n_unscored, nothing.left_out) == (3, ()) and "kits_1, kits_2, kits_3" in nothing.errors[0].found


@pytest.mark.parametrize(("predicted", "taken"), [("la_1_0000", "labelsTr"), ("la_9_0000", "labelsTs")])
def test_references_in_a_folder_of_nnunet(
    tmp_path: Path, predicted: str, taken: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw, pred = tmp_path / "Dataset002_Heart", tmp_path / "pred"
    for folder, name in (("labelsTr", "la_1"), ("labelsTr", "la_2"), ("labelsTs", "la_9")):
        write_label_map(raw / folder / f"{name}.nii.gz", _lm((1, slice(0, 2))), _grid())
    write_label_map(pred / f"{predicted}.nii.gz", _lm((1, slice(0, 2))), _grid())
    with caplog.at_level("INFO"):
        table = score_folder(pred, raw, predicted_only=True)
    assert (table.gt, table.n_scored, table.scores[0].dice) == (raw / taken, 1, 1)
    assert f"references: those of {raw / taken}" in caplog.text
    assert table.scores[0].name == "label_1"
    (raw / "dataset.json").write_text('{"channel_names": {"0": "CT"}, "labels": {"background": 0, "atrium": 1}}')
    assert score_folder(pred, raw, predicted_only=True, nsd_mm={"atrium": 1}).scores[0].name == "atrium"


@pytest.fixture
def grouped(tmp_path: Path) -> tuple[Path, Path]:
    """A model of two groups, in which b's liver (1 in its files) is 3; nobody of b drew the kidney."""
    pred, gt = tmp_path / "pred", tmp_path / "b"
    write_label_map(gt / "b_1.nii.gz", _lm((1, slice(0, 2)), (2, slice(4, 6))), _grid())
    write_label_map(pred / "b_1.nii.gz", _lm((3, slice(0, 2)), (1, slice(2, 4))), _grid())
    labels = {"values": [1, 3], "names": {"1": "kidney", "3": "liver"}}
    labels["origins"] = {"1": [["a", 1, "kidney"]], "3": [["b", 1, "liver"]]}
    (pred / "b_1.json").write_text(json.dumps({"labels": labels}))
    return pred, gt


def test_references_of_a_grouped_datasource_are_translated(grouped: tuple[Path, Path]) -> None:
    table = score_folder(*grouped, datasource="b")
    assert [(s.label, s.name, s.dice) for s in table.scores] == [(3, "liver", 1.0)]
    assert table.problems == ()


def test_renumbered_labels_are_said(grouped: tuple[Path, Path]) -> None:
    table = score_folder(*grouped)
    assert [p.next_step for p in table.problems] == [
        "if the references are of that datasource, score with datasource=b"
    ]


def test_a_datasource_that_the_model_never_saw(grouped: tuple[Path, Path], folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="choices: a, b"):
        score_folder(*grouped, datasource="c")
    with pytest.raises(ConfigError, match="leave it out"):
        score_folder(*folders, datasource="kits")


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["kitsnat", "tsaorta", "brainslab"])
def test_real_maps_equal_monai(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Stored in axis orders of their own, with thick slices; MONAI gets them as SimpleITK reads them."""
    import SimpleITK as sitk
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    file = min((shared_data / name / "lms").iterdir(), key=lambda path: path.stat().st_size)
    image = sitk.ReadImage(str(file), sitk.sitkUInt16)
    ref = sitk.GetArrayFromImage(image)
    pred = np.roll(ref, (1, 0, -2), axis=(0, 1, 2))
    predicted = sitk.GetImageFromArray(pred)
    predicted.CopyInformation(image)
    for folder, what in (("gt", image), ("pred", predicted)):
        (tmp_path / folder).mkdir()
        sitk.WriteImage(what, str(tmp_path / folder / "case_1.nrrd"), useCompression=True)
    table = score_folder(tmp_path / "pred", tmp_path / "gt", nsd_mm=1.5, measures=Measures(("nsd", "hd95")))
    assert table.scores
    spacing = image.GetSpacing()[::-1]
    for score in table.scores:
        p, r = (torch.from_numpy(lm == score.label)[None, None].float() for lm in (pred, ref))
        how = {"include_background": True, "spacing": spacing}
        theirs = compute_dice(p, r), compute_surface_dice(p, r, [1.5], **how)
        far = compute_hausdorff_distance(p, r, percentile=95, **how)
        np.testing.assert_allclose(
            [score.dice, score.nsd, score.hd95_mm], [float(x) for x in (*theirs, far)], atol=1e-4, err_msg=str(score)
        )
