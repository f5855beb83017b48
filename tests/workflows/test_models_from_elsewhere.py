"""`fran infer` with the same model from everywhere it may come from, as a user types it: the same voxels each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from fran.io.checkpoint import write_checkpoint
from fran.tracking.mlflow_logger import client_of
from tests.conftest import Fran
from tests.tracking.mlflow_server import mlflow_server

pytestmark = pytest.mark.slow
RUN = "plan1-dynunet-f0-1"


class Exploit:
    """Pickled, it makes a file as soon as it is loaded by anything that trusts pickles."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def checkpoint(fran_home: Path) -> Path:
    """A run of project kits: label 3 where the intensity is above 100.5."""
    meta = {
        "format": 1, "run": RUN, "project": "kits", "modality": "CT", "mode": "source",
        "network": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "labels": {"values": [3], "names": {"3": "kidney"}}, "spacing": [1.0, 1.0, 2.0], "patch_size": [4, 4, 4],
        "properties": {"intensity_clip_range": [-500, 900], "mean_fg": 0.0, "std_fg": 1.0},
    }  # fmt: skip
    state = {"network.weight": torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1)}
    state["network.bias"] = torch.tensor([0.0, -100.5])
    path = fran_home / "cold" / "checkpoints" / "kits" / RUN / "best.ckpt"
    write_checkpoint({"state_dict": state, "fran": meta}, path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(-200, 400, (9, 7, 5)).astype(np.int16)
    path = tmp_path / "images" / "kits_1.nii.gz"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


def _stored(server: str, checkpoint: Path, alias: str) -> str:
    """Id of a run on the server with the checkpoint, which is a version of a registered model too."""
    client = client_of(server)
    found = client.get_experiment_by_name("kits")
    experiment = found.experiment_id if found else client.create_experiment("kits")
    run = client.create_run(experiment)
    client.log_artifact(run.info.run_id, str(checkpoint), "checkpoints")
    if not list(client.search_registered_models("name = 'kits-plan1-dynunet'")):
        client.create_registered_model("kits-plan1-dynunet")
    source = f"{run.info.artifact_uri}/checkpoints/{checkpoint.name}"
    version = client.create_model_version("kits-plan1-dynunet", source, run.info.run_id)
    client.set_registered_model_alias("kits-plan1-dynunet", alias, version.version)
    return str(run.info.run_id)


def test_one_model_from_everywhere(fran: Fran, checkpoint: Path, image: Path, server: str, tmp_path: Path) -> None:
    run_id = _stored(server, checkpoint, "best")
    for name in ("kits.zip", "kits_bundle"):
        exported = fran("export", "project.title=kits", f"run={RUN}", f"output={tmp_path / name}")
        assert exported.returncode == 0, exported.stderr
    wanted = np.where(np.asarray(nibabel.load(image).dataobj) > 100.5, 3, 0)
    here = ("project.title=kits",)
    ways = {
        "run": (*here, f"runs=[{RUN}]"),
        "file": (f"runs=['{checkpoint}']",),
        "zip": (f"runs=['{tmp_path / 'kits.zip'}']",),
        "folder": (f"runs=['{tmp_path / 'kits_bundle'}']",),
        "mlflow": (*here, f"runs=['mlflow:{run_id}']", f"tracking_uri={server}"),
        "alias": (*here, "runs=['models:/kits-plan1-dynunet@best']", f"tracking_uri={server}"),
    }
    for way, words in ways.items():
        if way == "zip":
            checkpoint.rename(checkpoint.with_name("gone"))  # nothing but what is named may be used
        done = fran("infer", *words, f"input={image}", f"output={tmp_path / way}", "device=cpu")
        assert done.returncode == 0, (way, done.stderr)
        label_map = nibabel.load(tmp_path / way / "kits_1.nii.gz")
        np.testing.assert_array_equal(np.asarray(label_map.dataobj), wanted, err_msg=way)


def test_models_that_run_code_are_refused_wherever_they_come_from(
    fran: Fran, image: Path, server: str, tmp_path: Path, fran_home: Path
) -> None:
    owned = tmp_path / "owned"
    evil = tmp_path / "evil" / "best.ckpt"
    evil.parent.mkdir()
    torch.save({"state_dict": {}, "fran": Exploit(owned)}, evil)
    torch.load(evil, weights_only=False)
    assert owned.exists(), "the payload works"
    owned.unlink()
    run_id = _stored(server, evil, "evil")
    for words in (
        (f"runs=['{evil}']",),
        (f"runs=['mlflow:{run_id}']", f"tracking_uri={server}"),
        ("runs=['models:/kits-plan1-dynunet@evil']", f"tracking_uri={server}"),
    ):
        done = fran("infer", "project.title=kits", *words, f"input={image}", f"output={tmp_path / 'out'}", "device=cpu")
        assert done.returncode == 1, done.stdout
        assert "cannot be loaded as plain data" in done.stderr
        assert "Traceback" not in done.stderr
    assert not owned.exists()
    assert not (tmp_path / "out").exists()
