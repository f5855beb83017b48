"""The whole way by the commands a user types, on phantoms."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml

from fran.datasources.phantom import make_phantoms
from fran.io.checkpoint import read_checkpoint
from fran.tracking.mlflow_logger import client_of, sqlite_uri

from .sweeping import demo_project

QUICK = (
    "project=demo",
    "patch_dim0=32",
    "patch_dim1=16",
    "spacing=[4,4,6]",
    "model.filters=4",
    "trainer.max_epochs=1",
    "trainer.steps_per_epoch=2",
    "trainer.num_workers=0",
    "trainer.max_val_cases=1",
)


def test_a_broken_pair_among_good_ones_is_named_and_left_out(fran, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 3, 0, name="demo")
    broken = sorted((raw / "lms").glob("*.nii.gz"))[1]
    broken.write_bytes(broken.read_bytes()[:200])
    done = fran("init", "-t", "demo", "-i", str(raw))
    assert done.returncode == 1
    assert broken.name in done.stdout
    assert "copy it again from its source" in done.stdout
    assert "project demo: 2 cases" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_from_raw_files_to_scores(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 4, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    trained = fran("train", *QUICK, "run=first")
    assert trained.returncode == 0, trained.stderr
    assert "4 cases preprocessed" in trained.stderr
    refused = fran("train", "project=demo", "resume=first", "model=unet", "--dry-run")
    assert refused.returncode == 2 and "was trained with other settings: network" in refused.stderr
    client = client_of(sqlite_uri(fran_home / "projects" / "demo" / "mlflow.db"))
    (run_id,) = [run.info.run_id for run in _runs(client)]
    before = client.get_metric_history(run_id, "train/lr")
    resumed = fran("train", "project=demo", "resume=first", "trainer.max_epochs=2", "trainer.optimiser.lr=1e-4")
    assert resumed.returncode == 0, resumed.stderr
    assert "2 epochs" in resumed.stderr
    changes = "resuming first with changed settings: trainer.max_epochs=2, trainer.optimiser.lr=1e-4"
    assert changes in " ".join(resumed.stderr.split())
    (run,) = _runs(client)
    assert run.info.run_id == run_id
    changed = run.data.tags["fran.changed_on_resume"].splitlines()
    assert "trainer.max_epochs: 1 -> 2" in changed
    assert any(line.startswith("trainer.optimiser.lr: ") and line.endswith(" -> 0.0001") for line in changed)
    rates = [point.value for point in client.get_metric_history(run_id, "train/lr")]
    assert len(rates) == 2 * len(before)
    assert rates[0] > 1e-4 >= rates[-1]
    stored = _artefacts(client, run_id)
    pictures = {name for name in stored if name.startswith("overlays/")}
    assert stored - pictures == {
        *("config.yaml", "config_resumed_1.yaml", "versions.json", "run.json", "checkpoints/best.ckpt"),
        *("curves/curves.png", "curves/metrics.csv", "validation/cases.csv"),
        *("validation/epoch_0001.csv", "validation/epoch_0002.csv"),
    }
    assert any(name.startswith("overlays/worst_1_") for name in pictures)
    assert any(name.startswith("overlays/epoch_0002_") for name in pictures)
    output = tmp_path / "predictions"
    assert fran("infer", "project=demo", "runs=[first]", f"input={raw}", f"output={output}").returncode == 0
    for image in (raw / "images").glob("*.nii.gz"):
        theirs, ours = nibabel.load(image), nibabel.load(output / image.name)
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-3)
    assert fran("score", f"pred={output}", f"gt={raw}").returncode == 0
    assert json.loads((output / "scores.json").read_text())["references"] == 4
    unknown = fran("infer", "project=demo", "runs=[frist]", f"input={raw}")
    assert unknown.returncode == 2
    assert "did you mean 'first'" in unknown.stderr


def _runs(client: Any) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name("demo").experiment_id]))


def _artefacts(client: Any, run_id: str, below: str | None = None) -> set[str]:
    found = client.list_artifacts(run_id, below)
    files = {entry.path for entry in found if not entry.is_dir}
    return files.union(*(_artefacts(client, run_id, entry.path) for entry in found if entry.is_dir))


@pytest.mark.long
def test_the_largest_batch_is_searched_for_once_and_kept_by_a_resume(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    demo_project(fran, tmp_path)
    begun = fran("train", *QUICK, "find_batch_size=true", "trainer.steps_per_epoch=1", "run=large")
    assert begun.returncode == 0, begun.stderr
    found = int(re.search(r"batch size (\d+) fits on the CPU", begun.stderr)[1])
    assert found > 2
    run = fran_home / "cold" / "checkpoints" / "demo" / "large"
    resumed = fran("train", "project=demo", "resume=large", "trainer.max_epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert "fits on the" not in resumed.stderr
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["trainer"]["batch_size"], config["find_batch_size"]) == (found, False)
    last = read_checkpoint(run / "last.ckpt")
    assert (last["fran"]["config"]["trainer"]["batch_size"], last["global_step"]) == (found, 2)


@pytest.mark.slow
def test_a_training_on_all_cases_is_resumed_and_predicts(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    demo_project(fran, tmp_path, 3)
    begun = fran("train", *QUICK, "fold=all", "run=everything")
    assert begun.returncode == 0, begun.stderr
    assert "3 cases to train, 0 to validate" in begun.stderr
    resumed = fran("train", "project=demo", "resume=everything", "trainer.max_epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    run = fran_home / "cold" / "checkpoints" / "demo" / "everything"
    assert not (run / "best.ckpt").exists() and read_checkpoint(run / "last.ckpt")["epoch"] == 1
    with (run / "metrics.csv").open() as stream:
        assert [row["val/dice"] for row in csv.DictReader(stream)] == ["", ""]
    images, output = tmp_path / "raw" / "demo", tmp_path / "predictions"
    predicted = fran("infer", "project=demo", "runs=[everything]", f"input={images}", f"output={output}")
    assert predicted.returncode == 0, predicted.stderr
    assert len(list(output.glob("*.nii.gz"))) == 3


@pytest.mark.slow
def test_a_sweep_over_networks_makes_a_run_each(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 3, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    done = fran("train", "-m", "model=dynunet,segresnet", *QUICK)
    assert done.returncode == 0, done.stderr
    runs = sorted(p.name for p in (fran_home / "cold" / "checkpoints" / "demo").iterdir())
    assert runs == ["plan1-dynunet-f0-1", "plan1-segresnet-f0-1"]
