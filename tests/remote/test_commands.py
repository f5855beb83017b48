"""`fran infer`, `fran hpc ls` and `fran hpc pull` as a user types them, against a real OpenSSH server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from fran.errors import ConfigError
from fran.workflows.hpc import hpc_settings

SECRET = "hunter2-not-for-anybody"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(-200, 400, (9, 7, 5)).astype(np.int16)
    path = tmp_path / "images" / "kits_1.nii.gz"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


@pytest.mark.slow
def test_runs_of_the_cluster_predict(fran: Any, server: Any, image: Path, tmp_path: Path) -> None:
    server.model("plan1-dynunet-f0-1")
    environment = {"HPC_SETTINGS": str(server.hpc_yaml())}
    listed = fran("hpc", "ls", "project.title=kits", **environment)
    assert listed.returncode == 0, listed.stderr
    assert "plan1-dynunet-f0-1" in listed.stdout
    assert "1 runs" in listed.stdout
    command = ("infer", "project.title=kits", f"input={image.parent}", "device=cpu")
    done = fran(*command, "runs=[plan1-dynunet-f0-1]", f"output={tmp_path / 'out'}", **environment)
    assert done.returncode == 0, done.stderr
    label_map = np.asarray(nibabel.load(tmp_path / "out" / "kits_1.nii.gz").dataobj)
    np.testing.assert_array_equal(label_map, np.where(np.asarray(nibabel.load(image).dataobj) > 100.5, 3, 0))
    assert "checked by sha256sum of the cluster" in done.stderr + done.stdout
    again = fran(*command, "runs=['hpc:plan1-dynunet-f0-1']", f"output={tmp_path / 'again'}", **environment)
    assert again.returncode == 0, again.stderr
    assert "is up to date" in again.stderr + again.stdout
    found = json.loads(fran("hpc", "ls", "project.title=kits", "json=true", **environment).stdout)
    assert found[0]["copy"] == "here"
    pulled = fran("hpc", "pull", "project.title=kits", "runs=[plan1-dynunet-f0-1]", **environment)
    assert Path(pulled.stdout.strip()).name == "best.ckpt"
    missing = fran(*command, "runs=[plan1-dynunet-f0-2]", **environment)
    assert missing.returncode == 2
    assert "did you mean 'plan1-dynunet-f0-1'" in missing.stderr


@pytest.mark.slow
def test_nothing_that_is_written_after_a_failed_login_holds_the_password(
    fran: Any, server: Any, image: Path, wrong_key: Any, tmp_path: Path
) -> None:
    environment = {"HPC_SETTINGS": str(server.hpc_yaml(key_file=str(wrong_key.key_file))), "FRAN_HPC_PASSWORD": SECRET}
    said = ""
    for verb in (
        ("infer", f"input={image}", "runs=[one]", "hydra.verbose=true"),
        ("hpc", "ls"),
        ("hpc", "pull", "runs=[one]"),
    ):
        done = fran(*verb, "project.title=kits", **environment)
        assert done.returncode == 1
        assert "refused the login" in done.stderr
        assert "Traceback" not in done.stderr
        said += done.stdout + done.stderr
    assert SECRET not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files), "the log of fran infer is among them"
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_an_unknown_host_is_refused_with_its_fingerprint(fran: Any, server: Any, image: Path) -> None:
    settings = server.hpc_yaml(known_hosts=str(server.storage / "none"))
    done = fran("infer", "project.title=kits", "runs=[one]", f"input={image}", HPC_SETTINGS=str(settings))
    assert done.returncode == 1
    assert "SHA256:" in done.stderr
    assert f">> {server.storage / 'none'}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_settings_it_is_said_how(fran: Any, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPC_SETTINGS", raising=False)
    done = fran("infer", "project.title=kits", "runs=[one]", f"input={image}")
    assert done.returncode == 2
    assert "for runs of a cluster set HPC_SETTINGS" in done.stderr
    done = fran("hpc", "ls", "project.title=kits")
    assert done.returncode == 2
    assert "HPC_SETTINGS: expected the path of a yaml file" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"host: a\nusername: b\nhpc_storage: /c\npassword: {SECRET}\n", "no secret in a file"),
        (f"host: a\nusername: b\nhpc_storage: /c\nkey_passphrase: {SECRET}\n", "no secret in a file"),
        (f"host: a\npassword: '{SECRET}\n", "is no yaml"),
        (f"- {SECRET}\n", "a yaml file with host, username, hpc_storage"),
        (f"host: a\nusername: b\nhpc_storage: /c\nhots: {SECRET}\n", "did you mean 'host'"),
        ("host: me@a\nport: 99999\nhpc_storage: c\nkey_file: /none\n", "5 settings cannot work"),
        ("host: -oProxyCommand=x\nusername: b\nhpc_storage: /c\n", "a host's name alone"),
    ],
)
def test_settings_that_cannot_work(content: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hpc.yaml"
    path.write_text(content)
    monkeypatch.setenv("HPC_SETTINGS", str(path))
    with pytest.raises(ConfigError) as caught:
        hpc_settings()
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_password_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hpc.yaml"
    path.write_text("host: a\nusername: b\nhpc_storage: /c\n")
    monkeypatch.setenv("HPC_SETTINGS", str(path))
    monkeypatch.setenv("FRAN_HPC_PASSWORD", SECRET)
    settings = hpc_settings()
    assert settings is not None
    assert settings.password == SECRET
    assert SECRET not in repr(settings) + str(settings)
