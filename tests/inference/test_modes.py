"""Models of every mode: crops around what a localiser or a folder of label maps says, resized volumes, votes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.errors import CasesFailed, ConfigError
from fran.inference.crops import CropRule, GuideFolder
from fran.inference.folder import predict_folder
from fran.inference.predictor import Predictor
from fran.inference.vote import Vote, majority
from fran.io.checkpoint import ModelFile
from fran.io.volume import Volume, read_volume

MakeModel = Callable[..., ModelFile]
Rule = Callable[..., np.ndarray]
SHAPE = (21, 18, 16)
SPACING = [0.8, 1.2, 3.0]
AFFINE = np.diag([-0.8, 1.2, -3.0, 1.0])  # stored LAI: the crop has to find its way back
#: Where the bright region of the image lies, in the file's voxels.
REGION = (slice(5, 9), slice(7, 11), slice(4, 8))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Noise that obeys the rule, with a region brighter than everything else, which the localiser looks for."""
    raw = np.random.default_rng(3).integers(-200, 500, SHAPE).astype(np.int16)
    raw[REGION] = 800
    path = tmp_path / "images" / "kits_1.nii.gz"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(raw, AFFINE), path)
    return path


@pytest.fixture
def localiser(make_model: MakeModel) -> Predictor:
    return Predictor([make_model("locate", low=700.5, high=890.0, spacing=SPACING)], "cpu")


def _crop_model(make_model: MakeModel, mode: str = "rbd", expand_by: float = 3.0, **config: object) -> ModelFile:
    return make_model("second", mode=mode, spacing=SPACING, config={"expand_by": expand_by, **config})


def _raw(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def _native(found: np.ndarray, volume: Volume) -> np.ndarray:
    return volume.reorientation.invert(found)


def _box(margin_mm: float, least: tuple[int, int, int] = (6, 6, 4)) -> tuple[slice, ...]:
    sides = []
    for region, spacing, size, n in zip(REGION, SPACING, least, SHAPE, strict=True):
        margin = int(np.ceil(margin_mm / spacing - 1e-6))
        low, high = max(0, region.start - margin), min(n, region.stop + margin)
        assert high - low >= size, "the test means boxes that need not grow"
        sides.append(slice(low, high))
    return tuple(sides)


@pytest.mark.parametrize("mode", ["rbd", "lbd", "pbd", "source"])
def test_a_second_model_sees_the_localisers_crop(
    mode: str, image: Path, localiser: Predictor, make_model: MakeModel, rule: Rule
) -> None:
    predictor = Predictor([_crop_model(make_model, mode)], "cpu", localiser=localiser)
    volume = read_volume(image)
    found = predictor.predict(volume)
    expected = np.zeros(SHAPE, np.uint8)
    expected[_box(3.0)] = rule(_raw(image))[_box(3.0)]
    np.testing.assert_array_equal(_native(found.array, volume), expected)
    assert found.facts["used"] == "crop"
    low, high = found.facts["box_vox"]
    assert [b - a for a, b in zip(low, high, strict=True)] == [s.stop - s.start for s in _box(3.0)]
    assert expected.any() and not np.array_equal(expected, rule(_raw(image)))


def test_the_command_changes_margin_and_regions(
    image: Path, localiser: Predictor, make_model: MakeModel, rule: Rule
) -> None:
    model = _crop_model(make_model, localiser_regions=["tumour"])
    assert CropRule.of(model.meta).regions == ("tumour",)
    volume = read_volume(image)
    with pytest.raises(ConfigError, match=r"spleen.*3: kidney, 117: tumour"):
        Predictor([model], "cpu", localiser=localiser, crop=CropRule.of(model.meta, regions=["spleen"]))
    wide = CropRule.of(model.meta, margin_mm=6.0, regions=["kidney"])
    found = Predictor([model], "cpu", localiser=localiser, crop=wide).predict(volume)
    expected = np.zeros(SHAPE, np.uint8)
    expected[_box(6.0)] = rule(_raw(image))[_box(6.0)]
    np.testing.assert_array_equal(_native(found.array, volume), expected)
    with pytest.raises(ConfigError, match="margin_mm"):
        CropRule.of(model.meta, margin_mm=-1)


@pytest.mark.parametrize("empty", ["whole", "empty"])
def test_a_localiser_that_finds_nothing(
    empty: str, image: Path, make_model: MakeModel, rule: Rule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blind = Predictor([make_model("blind", low=880.0, high=890.0, spacing=SPACING)], "cpu")
    model = _crop_model(make_model)
    predictor = Predictor([model], "cpu", localiser=blind, crop=CropRule.of(model.meta, empty=empty))
    predict_folder(predictor, image, tmp_path / "out", progress=False)
    found = _raw(tmp_path / "out" / image.name)
    np.testing.assert_array_equal(found, rule(_raw(image)) if empty == "whole" else np.zeros(SHAPE))
    assert "kits_1: the localiser found nothing" in caplog.text
    stored = json.loads((tmp_path / "out" / "kits_1.json").read_text())
    assert stored["case"]["used"] == {"whole": "the whole image is predicted", "empty": "the label map is empty"}[empty]
    assert stored["localiser"]["empty"] == empty
    assert stored["localiser"]["models"][0]["run"] == "blind"
    with pytest.raises(ConfigError, match="localiser_empty"):
        CropRule.of(model.meta, empty="nothing")


def test_a_folder_of_label_maps_instead_of_a_run(
    image: Path, make_model: MakeModel, rule: Rule, tmp_path: Path
) -> None:
    guides = tmp_path / "guides"
    guides.mkdir()
    lm = np.zeros(SHAPE, np.uint8)
    lm[REGION] = 5
    nibabel.save(nibabel.Nifti1Image(lm, AFFINE), guides / "kits_1.nii.gz")
    model = _crop_model(make_model)

    def predictor() -> Predictor:
        return Predictor([model], "cpu", localiser=GuideFolder.of(guides))

    out = tmp_path / "out"
    predict_folder(predictor(), image, out, progress=False)
    expected = np.zeros(SHAPE, np.uint8)
    expected[_box(3.0)] = rule(_raw(image))[_box(3.0)]
    np.testing.assert_array_equal(_raw(out / image.name), expected)
    assert predict_folder(predictor(), image, out, progress=False).n_skipped == 1

    nibabel.save(nibabel.Nifti1Image(lm[::-1].copy(), AFFINE), guides / "kits_1.nii.gz")
    with pytest.raises(CasesFailed, match="other localiser's label map"):
        predict_folder(predictor(), image, out, progress=False)
    (guides / "kits_1.nii.gz").rename(guides / "kits_7.nii.gz")
    with pytest.raises(CasesFailed, match=r"guides/kits_1\.nii\.gz"):
        predict_folder(predictor(), image, tmp_path / "other", progress=False)
    with pytest.raises(ConfigError, match="expected a folder of label maps"):
        GuideFolder.of(tmp_path / "nowhere")


def test_whole_images_are_resized_to_the_patch_and_back(image: Path, make_model: MakeModel) -> None:
    raw = np.zeros(SHAPE, np.int16)
    raw[:12] = 200
    nibabel.save(nibabel.Nifti1Image(raw, AFFINE), image)
    volume = read_volume(image)
    predictor = Predictor([make_model("whole", mode="whole", spacing=SPACING, patch_size=[14, 12, 8])], "cpu")
    found = predictor.predict(volume)
    native = _native(found.array, volume)
    assert set(np.unique(native)) == {0, 3}
    assert np.mean((native == 3) == (raw == 200)) > 0.95
    assert found.facts["scores"] == "memory" and found.facts["used"] == "whole image"


def test_what_cannot_be_combined(image: Path, localiser: Predictor, make_model: MakeModel) -> None:
    whole = make_model("whole", mode="whole", spacing=SPACING)
    with pytest.raises(ConfigError, match="resized to its patch"):
        Predictor([whole], "cpu", localiser=localiser)
    with pytest.raises(ConfigError, match=r"one mode.*source.*whole.*ensemble=vote"):
        Predictor([make_model("a", spacing=SPACING), whole], "cpu")
    chained = Predictor([_crop_model(make_model)], "cpu", localiser=localiser)
    with pytest.raises(ConfigError, match="needs none itself"):
        Predictor([_crop_model(make_model)], "cpu", localiser=chained)
    other = make_model("b", mode="whole", spacing=SPACING, patch_size=[8, 8, 8])
    with pytest.raises(ConfigError, match="one patch_size"):
        Predictor([whole, other], "cpu")


def test_aliases_of_modes(make_model: MakeModel, image: Path, rule: Rule) -> None:
    volume = read_volume(image)
    found = Predictor([make_model(mode="patch", spacing=SPACING)], "cpu").predict(volume)
    np.testing.assert_array_equal(_native(found.array, volume), rule(_raw(image)))


def test_a_vote_of_models_that_differ(
    image: Path, localiser: Predictor, make_model: MakeModel, rule: Rule, tmp_path: Path
) -> None:
    """One of another mode, one of another patch, one of another opinion."""
    raw = _raw(image)
    predictors = [
        Predictor([_crop_model(make_model)], "cpu", localiser=localiser),
        Predictor([make_model("plain", spacing=SPACING, patch_size=[8, 6, 4])], "cpu"),
        Predictor([make_model("high", low=250.5, high=420.5, spacing=SPACING)], "cpu"),
    ]
    vote = Vote(predictors)
    report = predict_folder(vote, image, tmp_path / "out", progress=False)
    assert report.n_predicted == 1
    crop = np.zeros(SHAPE, np.uint8)
    crop[_box(3.0)] = rule(raw)[_box(3.0)]
    maps = [crop, rule(raw), rule(raw, 250.5, 420.5)]
    np.testing.assert_array_equal(_raw(tmp_path / "out" / image.name), majority(maps))
    stored = json.loads((tmp_path / "out" / "kits_1.json").read_text())
    assert [m["run"] for m in stored["models"]] == ["second", "plain", "high"]
    assert stored["settings"]["ensemble"] == "vote"
    assert predict_folder(vote, image, tmp_path / "out", progress=False).n_skipped == 1
    with pytest.raises(ConfigError, match="two runs or more"):
        Vote(predictors[:1])
    with pytest.raises(ConfigError, match="one labels"):
        Vote([predictors[0], Predictor([make_model("c", labels={"values": [1, 2], "names": {}})], "cpu")])


def test_majority_against_counting() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 4, 500).astype(np.uint8) for _ in range(5)]
    for voxel, found in enumerate(majority(maps)):
        votes = [int(m[voxel]) for m in maps]
        most = max(votes.count(v) for v in votes)
        assert found == next(v for v in votes if votes.count(v) == most)
