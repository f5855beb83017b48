"""`fran crops` as a user types it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fran import keys
from fran.augmentation.settings import AugmentationSettings, no_augmentation
from fran.datasources.phantom import make_phantoms
from fran.training.parts import make_datamodule
from fran.workflows.crops import by_operation, of_training
from tests.training.conftest import phantoms, small_spec

SMALL = ("project=demo", "patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]")


def picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("crops")
    return small_spec(phantoms.make_folder(folder / "cases", 5), folder)


def test_crops_are_those_of_the_training(spec) -> None:  # type: ignore[no-untyped-def]
    drawn = of_training(replace(spec, augmentation=AugmentationSettings(rotation_p=0.7)), 4)
    module = make_datamodule(replace(spec, trainer=replace(spec.trainer, num_workers=0)), on_gpu=False)
    module.setup("fit")
    ids = [case_id for batch in module.train_dataloader() for case_id in batch[keys.CASE_ID]]
    assert [crop.title for crop in drawn] == ids[:4]
    assert {crop.image.shape for crop in drawn} == {spec.patch_size}


def test_each_operation_is_drawn_alone_and_anew(spec) -> None:  # type: ignore[no-untyped-def]
    ghosting = {"ghosting": {"_target_": "torchio.RandomGhosting", "p": 0.1}}
    settings = replace(no_augmentation(), noise_p=0.1, rotation_p=0.1, transforms=ghosting)
    plain, *drawn = by_operation(replace(spec, augmentation=settings))
    assert plain.title == "as it is"
    assert [crop.title for crop in drawn] == [name for name in ("rotation", "noise", "ghosting") for _ in range(3)]
    images = [crop.image for crop in (plain, *drawn)]
    alike = [(i, j) for i, j in combinations(range(len(images)), 2) if np.array_equal(images[i], images[j])]
    assert not alike
    assert all(np.array_equal(crop.lm, plain.lm) == (crop.title != "rotation") for crop in drawn)


@pytest.mark.slow
def test_crops_are_drawn_as_a_training_would_see_them(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 3, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    early = fran("crops", *SMALL)
    assert early.returncode == 1
    assert "fran preprocess" in early.stderr, "what to do first is said"
    assert fran("preprocess", *SMALL).returncode == 0

    done = fran("crops", *SMALL, "count=8")
    assert done.returncode == 0, done.stderr
    file = fran_home / "projects" / "demo" / "crops" / "crops.png"
    assert done.stdout.split() == [str(file)]
    drawn = picture(file)
    assert drawn.shape[1] > 2 * drawn.shape[0], "six crops beside each other, in two rows"
    colours = {tuple(c) for c in (drawn.reshape(-1, 3) * 255).round().astype(int) if c.max() - c.min() > 60}
    assert colours, "contours of the labels"

    again = fran("crops", *SMALL, "count=8", f"output={tmp_path / 'elsewhere'}")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "elsewhere" / "crops.png").read_bytes() == file.read_bytes()
    plain = fran("crops", *SMALL, "count=8", "augmentation=none", f"output={tmp_path / 'plain'}")
    assert plain.returncode == 0, plain.stderr
    assert picture(tmp_path / "plain" / "crops.png").shape == drawn.shape
    assert (tmp_path / "plain" / "crops.png").read_bytes() != file.read_bytes()

    single = fran("crops", *SMALL, "operations=true", "augmentation.shear_p=0.1", f"output={tmp_path / 'single'}")
    assert single.returncode == 0, single.stderr
    assert single.stdout.split() == [str(tmp_path / "single" / "operations.png")]
    assert not list((fran_home / "cold" / "checkpoints").glob("demo/*")), "nothing is trained"

    wrong = fran("crops", *SMALL, "count=0", "augmentation.noise_p=2")
    assert wrong.returncode == 2
    assert "count" in wrong.stderr
    assert "augmentation.noise_p" in wrong.stderr
