"""Models from elsewhere cannot run code, write outside their folder, or name a network of their own."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fran.bundle.members import MEMBERS, read_bundle
from fran.bundle.write import write_bundle
from fran.errors import ConfigError, DataError, StoreError
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile, read_model
from fran.projects.folders import ProjectFolders
from fran.workflows.model_sources import ModelSources

Run = Callable[..., ModelFile]


class Exploit:
    """Pickled, it makes a file as soon as it is loaded by anything that trusts pickles."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """The file that an exploit makes; the payload is shown to work first."""
    path = tmp_path / "owned"
    pickle.loads(pickle.dumps(Exploit(path)))
    assert path.exists()
    path.unlink()
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_is_refused(zipped: bool, owned: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "fran": Exploit(owned)}, evil, _use_new_zipfile_serialization=zipped)
    with pytest.raises(StoreError, match="cannot be loaded as plain data"):
        read_model(evil)
    with pytest.raises(StoreError, match="cannot be loaded as plain data"):
        ModelSources(ProjectFolders("kits", *[tmp_path] * 4)).read(str(evil))
    assert not owned.exists()


@pytest.mark.parametrize("file", [MEMBERS, "models/model.pt"])
def test_a_malicious_bundle_is_refused(file: str, owned: Path, run: Run, tmp_path: Path) -> None:
    bundle = write_bundle([run("one")], tmp_path / "model", ()).path
    torch.save({"format": 1, "members": Exploit(owned)}, bundle / file)
    with pytest.raises(StoreError, match="cannot be loaded as plain data"):
        read_bundle(bundle, tmp_path)
    assert not owned.exists()


def test_the_configurations_and_torchscript_of_a_bundle_are_never_run(owned: Path, run: Run, tmp_path: Path) -> None:
    bundle = write_bundle([run("one")], tmp_path / "model", ()).path
    (bundle / "configs" / "inference.json").write_text(
        "{\"run\": [\"$__import__('os').system('touch " + str(owned) + "')\"]}"
    )
    (bundle / "models" / "model.ts").write_bytes(pickle.dumps(Exploit(owned)))
    Predictor(read_bundle(bundle, tmp_path), "cpu")
    assert not owned.exists()


def test_networks_of_other_packages_are_refused(run: Run, tmp_path: Path) -> None:
    bundle = write_bundle([run("one")], tmp_path / "model", ()).path
    for target in ("os.system", "subprocess.run", "builtins.eval", "torch.load", "torch.hub.load"):
        listed = torch.load(bundle / MEMBERS, weights_only=True)
        listed["members"][0]["meta"]["network"] = {"_target_": target, "command": "touch owned"}
        torch.save(listed, bundle / MEMBERS)
        with pytest.raises(ConfigError, match="outside the allowed packages"):
            Predictor(read_bundle(bundle, tmp_path), "cpu")


@pytest.mark.parametrize("name", ["../../outside.pt", "/etc/passwd", "link.pt"])
def test_weights_stay_in_their_folder(name: str, run: Run, tmp_path: Path) -> None:
    bundle = write_bundle([run("one")], tmp_path / "model", ()).path
    (tmp_path / "outside.pt").write_bytes((bundle / "models" / "model.pt").read_bytes())
    (bundle / "models" / "link.pt").symlink_to(tmp_path / "outside.pt")
    listed = torch.load(bundle / MEMBERS, weights_only=True)
    listed["members"][0]["weights"] = name
    torch.save(listed, bundle / MEMBERS)
    with pytest.raises(DataError, match="do not use this bundle"):
        read_bundle(bundle, tmp_path)


def test_weights_that_were_exchanged(run: Run, tmp_path: Path) -> None:
    one, two = (write_bundle([run(n, seed=i)], tmp_path / f"b{n}", ()).path for i, n in enumerate(("one", "two")))
    (one / "models" / "model.pt").write_bytes((two / "models" / "model.pt").read_bytes())
    with pytest.raises(StoreError, match="is not what was exported"):
        read_bundle(one, tmp_path)


def test_a_zip_that_leads_elsewhere(run: Run, tmp_path: Path) -> None:
    bundle = write_bundle([run("one")], tmp_path / "model.zip", ()).path
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("model/../../../slipped", b"x")
    with pytest.raises(DataError, match="names inside the archive"):
        read_bundle(bundle, tmp_path / "deep" / "unpacked")
    assert not list(tmp_path.rglob("slipped"))
    assert not (tmp_path / "deep").exists()
