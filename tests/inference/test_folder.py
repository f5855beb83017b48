"""Folders of images: what is skipped, what fails, what is written beside a label map."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from fran.errors import CasesFailed, ConfigError, DataError
from fran.inference.folder import predict_folder
from fran.inference.inputs import find_images
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.files import file_digest

MakeModel = Callable[..., ModelFile]
Rule = Callable[..., np.ndarray]
LOW = 100.5
SPACING = [1.2, 0.8, 3.0]  # along right, front, head: nothing is resampled
AFFINE = np.array([[0, -1.2, 0, 3.0], [0.8, 0, 0, -4.0], [0, 0, 3.0, 5.0], [0, 0, 0, 1]])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A datasource folder with three images."""
    folder = tmp_path / "ds" / "images"
    folder.mkdir(parents=True)
    for number in range(3):
        raw = np.random.default_rng(number).integers(-200, 600, (7, 6, 5)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(raw, AFFINE), folder / f"kits_{number}.nii.gz")
    return folder


@pytest.fixture
def predictor(make_model: MakeModel) -> Predictor:
    return Predictor([make_model(spacing=SPACING)], "cpu")


def _voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_predicts_then_skips_then_overwrites(images: Path, predictor: Predictor, rule: Rule, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = predict_folder(predictor, images.parent, out, progress=False)
    assert (report.n_predicted, report.n_skipped) == (3, 0)
    assert report.seconds_per_case > 0
    for image in images.iterdir():
        np.testing.assert_array_equal(_voxels(out / image.name), rule(_voxels(image)))
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    assert set(before) == {f"kits_{n}{e}" for n in range(3) for e in (".nii.gz", ".json")}

    (out / "kits_1.nii.gz").unlink()
    again = predict_folder(predictor, images, out, progress=False)
    assert [case.status for case in again.cases] == ["skipped", "predicted", "skipped"]
    assert (out / "kits_0.nii.gz").stat().st_mtime_ns == before["kits_0.nii.gz"]
    assert predict_folder(predictor, images, out, overwrite=True, progress=False).n_predicted == 3


def test_progress_is_said_with_its_rate_and_not_with_quiet(
    images: Path,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fran.parallel.progress._FIRST_S", 0.0)
    predict_folder(predictor, images, tmp_path / "out")
    said = capsys.readouterr()
    assert said.out == "" and re.search(r"predict: 3 of 3 cases, [\d.]+ (cases/s|s/case), in 0:00:", said.err)
    monkeypatch.setenv("FRAN_QUIET", "1")
    predict_folder(predictor, images, tmp_path / "out", overwrite=True)
    assert capsys.readouterr().err == ""


def test_provenance(images: Path, predictor: Predictor, tmp_path: Path) -> None:
    predict_folder(predictor, images / "kits_0.nii.gz", tmp_path / "out", progress=False, output_format="nrrd")
    assert (tmp_path / "out" / "kits_0.nrrd").is_file()
    stored = json.loads((tmp_path / "out" / "kits_0.json").read_text())
    assert stored["input"] == {
        "path": str((images / "kits_0.nii.gz").resolve()),
        "digest": file_digest(images / "kits_0.nii.gz"),
    }
    (model,) = stored["models"]
    checkpoint = predictor.members[0].path
    assert model == {"run": "run1", "checkpoint": "best.ckpt", "digest": file_digest(checkpoint)}
    assert stored["labels"]["names"] == {"3": "kidney", "117": "tumour"}
    assert stored["labels"]["origins"]["117"] == [["kits", 2, "tumour"], ["lits", 2, "lesion"]]
    assert stored["settings"] == {"overlap": 0.5, "precision": "32"}
    assert stored["grid"]["shape"] == [7, 6, 5]
    assert set(stored["seconds"]) == {"prepare", "network", "export", "all"}


def test_slicer_gets_segments_with_names_and_colours(
    images: Path, predictor: Predictor, rule: Rule, tmp_path: Path
) -> None:
    image = images / "kits_0.nii.gz"
    predict_folder(predictor, image, tmp_path / "out", progress=False, output_format="seg.nrrd")
    written = sitk.ReadImage(tmp_path / "out" / "kits_0.seg.nrrd")
    keys = ("LabelValue", "Name", "Color")
    kidney, tumour = ([written.GetMetaData(f"Segment{n}_{key}") for key in keys] for n in (0, 1))
    assert (kidney[:2], tumour[:2]) == (["3", "kidney"], ["117", "tumour"])
    assert kidney[2] != tumour[2]
    assert not written.HasMetaDataKey("Segment2_ID")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written).transpose(), rule(_voxels(image)))
    np.testing.assert_allclose(written.GetOrigin(), AFFINE[:3, 3] * (-1, -1, 1))  # LPS


def test_a_label_map_of_other_origin_is_never_replaced_unasked(
    images: Path, predictor: Predictor, make_model: MakeModel, rule: Rule, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_folder(predictor, images, out, progress=False)
    by_hand = out / "kits_2.nii.gz"
    (out / "kits_2.json").unlink()
    kept = by_hand.read_bytes()
    with pytest.raises(CasesFailed, match="unknown origin") as caught:
        predict_folder(predictor, images, out, progress=False)
    assert [p.case_id for p in caught.value.problems] == ["kits_2"]
    other = Predictor([make_model("run2", low=LOW + 50, spacing=SPACING)], "cpu")
    with pytest.raises(CasesFailed, match=r"3 of 3 cases failed[\s\S]*other models") as caught:
        predict_folder(other, images, out, progress=False)
    assert by_hand.read_bytes() == kept
    predict_folder(other, images, out, overwrite=True, progress=False)
    np.testing.assert_array_equal(_voxels(by_hand), rule(_voxels(images / "kits_2.nii.gz"), low=LOW + 50))


def test_a_changed_image_is_noticed(images: Path, predictor: Predictor, tmp_path: Path) -> None:
    predict_folder(predictor, images, tmp_path / "out", progress=False)
    nibabel.save(nibabel.Nifti1Image(np.ones((7, 6, 5), np.int16), AFFINE), images / "kits_0.nii.gz")
    with pytest.raises(CasesFailed, match="other image"):
        predict_folder(predictor, images, tmp_path / "out", progress=False)


def test_bad_cases_do_not_stop_the_others(images: Path, predictor: Predictor, tmp_path: Path) -> None:
    content = (images / "kits_0.nii.gz").read_bytes()
    (images / "kits_0.nii.gz").write_bytes(content[: len(content) // 2])
    (images / "kits_1b.nii.gz").write_bytes(b"")
    with pytest.raises(CasesFailed, match=r"2 of 4 cases failed \(2 predicted") as caught:
        predict_folder(predictor, images, tmp_path / "out", progress=False)
    assert [p.case_id for p in caught.value.problems] == ["kits_0", "kits_1b"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == ["kits_1.nii.gz", "kits_2.nii.gz"]
    assert not list((tmp_path / "out").glob(".tmp*"))


@pytest.mark.parametrize(
    ("names", "said"), [(["a_0000", "a_0001", "b_0000"], "a_0000 and a_0001"), (["a_0000", "b_0001", "kits_0002"], "")]
)
def test_channels_of_one_case_are_talked_about(
    names: list[str], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in names:
        (tmp_path / f"{name}.nii.gz").touch()
    assert [image.name for image in find_images(tmp_path)] == names
    assert ("channels of one case" in caplog.text) == bool(said) and said in caplog.text


def test_inputs(images: Path, tmp_path: Path) -> None:
    names = ["kits_0", "kits_1", "kits_2"]
    (images / ".hidden.nii.gz").touch()
    (images / "notes.txt").touch()
    for given in (images, images.parent, str(images), [images / f"{n}.nii.gz" for n in names], [images, images]):
        assert [image.path.name for image in find_images(given)] == [f"{n}.nii.gz" for n in names]
    listed = tmp_path / "list.txt"
    listed.write_text(f"# of the day\n\nds/images/kits_2.nii.gz\n  {images / 'kits_0.nii.gz'}  \n")
    assert [image.name for image in find_images(listed)] == ["kits_2", "kits_0"]
    listed.write_text("# nothing\n")
    with pytest.raises(DataError, match="a path in each line of"):
        find_images(listed)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="found none"):
        find_images(tmp_path / "other")
    (tmp_path / "other" / "kits_1.mha").touch()
    with pytest.raises(DataError, match="both be written as kits_1"):
        find_images([images, tmp_path / "other"])


def test_a_folder_of_nnunet_gives_its_test_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = tmp_path / "Dataset002_Heart"
    for name in ("imagesTr/la_1_0000", "imagesTs/la_9_0000"):
        (raw / name).parent.mkdir(parents=True)
        (raw / f"{name}.nii.gz").touch()
    with caplog.at_level("INFO"):
        assert [image.name for image in find_images(raw)] == ["la_9_0000"]
    assert str(raw / "imagesTs") in caplog.text
    (raw / "imagesTs" / "la_9_0000.nii.gz").unlink()
    with pytest.raises(DataError, match=r"expected images .* in .*imagesTs, found none"):
        find_images(raw)
    (raw / "imagesTs").rmdir()
    with pytest.raises(DataError, match=f"found imagesTr alone.* input={raw / 'imagesTr'}"):
        find_images(raw)


def test_impossible_outputs(images: Path, predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds the image"):
        predict_folder(predictor, images, images, overwrite=True, progress=False)
    with pytest.raises(ConfigError, match="format: found 'png'"):
        predict_folder(predictor, images, tmp_path / "out", output_format="png", progress=False)
