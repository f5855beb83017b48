"""Predictions by several workers on a Ray cluster: the voxels of one process, and what a killed worker costs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from fran.errors import CasesFailed, ConfigError
from fran.inference.case import Prediction, Prepared
from fran.inference.folder import predict_folder
from fran.inference.pool import Pool
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.volume import read_volume
from fran.parallel.actors import Actors
from tests.conftest import Fran

pytestmark = pytest.mark.slow

SPACING = [1.2, 0.8, 3.0]


class Deadly(Predictor):
    """Dies of the images whose name says so, as a process does that the kernel kills."""

    def run(self, prepared: Prepared, *more: Any, **named: Any) -> Prediction:
        if "deadly" in prepared.path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(prepared, *more, **named)


class Refusing(Predictor):
    """Cannot be made."""

    def __init__(self, *_: Any) -> None:
        raise ConfigError("overlap: expected less")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        raw = np.random.default_rng(number).integers(-200, 600, (7 + number, 6, 5)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(raw, np.diag([1.2, 0.8, 3.0, 1.0])), folder / f"kits_{number}.nii.gz")
    return folder


def _pool(model: ModelFile, address: str, kind: type[Predictor] = Predictor, **actors: Any) -> Pool:
    settings = Actors(address, **{"count": 2, "num_cpus": 1, **actors})
    return Pool(partial(kind, [model], "cpu"), "CT", settings)


def test_workers_give_the_voxels_of_one_process(
    images: Path,
    make_model: Callable[..., ModelFile],
    ray_address: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    model = make_model(spacing=SPACING)
    (images / "kits_3.nii.gz").write_bytes(b"nonsense")
    for predictor, folder in ((Predictor([model], "cpu"), "one"), (_pool(model, ray_address), "two")):
        with pytest.raises(CasesFailed, match=r"1 of 6 cases failed \(5 predicted, 0 finished before\)") as caught:
            predict_folder(predictor, images, tmp_path / folder, progress=False)
        assert [p.case_id for p in caught.value.problems] == ["kits_3"]
    for path in sorted((tmp_path / "one").glob("*.nii.gz")):
        np.testing.assert_array_equal(
            read_volume(tmp_path / "two" / path.name, role="lm").array, read_volume(path, role="lm").array
        )
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    assert "2 workers on the cluster, each with 1 CPUs" in caplog.text
    (tmp_path / "two" / "kits_4.nii.gz").unlink()
    (images / "kits_3.nii.gz").unlink()
    report = predict_folder(_pool(model, ray_address), images, tmp_path / "two", progress=False)
    assert [case.status for case in report.cases] == ["skipped"] * 3 + ["predicted", "skipped"]


def test_a_killed_worker_is_one_failed_case(
    images: Path,
    make_model: Callable[..., ModelFile],
    ray_address: str,
    tmp_path: Path,
) -> None:
    for number in (1, 2):
        (images / f"kits_{number}.nii.gz").rename(images / f"kits_{number}_deadly.nii.gz")
    pool = _pool(make_model(spacing=SPACING), ray_address, Deadly)
    with pytest.raises(CasesFailed, match=r"2 of 6 cases failed \(4 predicted") as caught:
        predict_folder(pool, images, tmp_path / "out", progress=False)
    assert [p.case_id for p in caught.value.problems] == ["kits_1_deadly", "kits_2_deadly"]
    assert "its worker was killed" in caught.value.problems[0].found
    made = sorted(path.name for path in (tmp_path / "out").glob("kits*.nii.gz"))
    assert made == [f"kits_{n}.nii.gz" for n in (0, 3, 4, 5)]


def test_what_cannot_work_is_said(
    images: Path,
    make_model: Callable[..., ModelFile],
    ray_address: str,
    tmp_path: Path,
) -> None:
    model = make_model(spacing=SPACING)
    with pytest.raises(ConfigError, match="overlap: expected less"):
        predict_folder(_pool(model, ray_address, Refusing), images, tmp_path / "out", progress=False)
    for actors in ({"count": 3}, {"num_cpus": 7}, {"num_gpus": 1.0}):
        with pytest.raises(ConfigError, match=r"actors: expected room for .* found a cluster of 2 CPUs and 0 GPUs"):
            predict_folder(_pool(model, ray_address, **actors), images, tmp_path / "out", progress=False)
    with pytest.raises(ConfigError, match=r"expected a Ray cluster at '127\.0\.0\.1:1'"):
        predict_folder(_pool(model, "127.0.0.1:1"), images, tmp_path / "out", progress=False)


def test_as_it_is_typed(
    fran: Fran, images: Path, make_model: Callable[..., ModelFile], ray_address: str, tmp_path: Path
) -> None:
    """Relative paths are meant from where the command is typed, and what workers log is seen."""
    model = make_model(spacing=SPACING)
    shared = ("infer", f"runs=['{model.path}']", "input=../images", "device=cpu", "precision=32")
    cluster = ("backend=ray", f"ray_address={ray_address}", "actors=2", "actor_cpus=1")
    for words in (("output=../one",), ("output=../two", *cluster)):
        done = fran(*shared, *words)
        assert done.returncode == 0, done.stderr
    assert "2 workers on the cluster" in done.stderr + done.stdout
    assert "kits_5: " in done.stderr + done.stdout
    for path in sorted((tmp_path / "one").glob("*.nii.gz")):
        np.testing.assert_array_equal(
            read_volume(tmp_path / "two" / path.name, role="lm").array, read_volume(path, role="lm").array
        )
    refused = fran(*shared, "output=../three", *cluster, "actor_gpus=-1")
    assert refused.returncode == 2
    assert "actor_gpus" in refused.stderr
