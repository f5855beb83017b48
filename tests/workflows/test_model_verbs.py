"""`fran model ls` and `fran model show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fran.workflows.entry import Job, compose_job
from fran.workflows.locations import conf_dir
from fran.workflows.model_ls import model_ls
from fran.workflows.model_show import model_show
from fran.workflows.schema import ModelsConfig


def job(*overrides: str) -> Job[ModelsConfig]:
    return compose_job("models", ModelsConfig, ["project=_new", "project.title=x", *overrides])


def test_every_network_has_a_row_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    model_ls(job("spacing=[1,1,1]", "patch_dim0=64", "patch_dim1=32", "model.filters=12", "json=true"))
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert sorted(rows) == sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
    for name, row in rows.items():
        assert row["family"], name
        assert row["problem"] == "", name
        assert row["parameters"] > 0
    assert rows["unet"]["bytes_16bit"] < rows["unet"]["bytes_fp32"]
    assert rows["unet"]["parameters"] == rows["dynunet"]["parameters"]
    assert rows["swinunetr"]["heads"] == [[64, 64, 32]]


def test_the_table_says_what_does_not_fit_and_knows_own_networks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    own = "# my family: three layers\n_target_: torch.nn.Conv3d\nkernel_size: 3\npadding: 1\n"
    (tmp_path / "model" / "mine.yaml").write_text(own)
    (tmp_path / "model" / "broken.yaml").write_text("_target_: torch.nn.Conv3d\nkernel_sise: 3\n")
    monkeypatch.setenv("FRAN_CONF", str(tmp_path))
    model_ls(job("patch_dim0=48", "patch_dim1=48", "preset=cpu"))
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert "does not take this patch; nearest: patch_dim0=64 patch_dim1=64" in lines["swinunetr"]
    assert "three layers" in lines["mine"]
    assert "my family" in lines["mine"]
    assert "did you mean 'kernel_size'" in lines["broken"]
    assert "patch 48 x 48 x 48" in said


def test_show_says_settings_sizes_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    model_show(job("model=resunet_s", "model.filters=8", "patch_dim0=64", "patch_dim1=32"))
    said = capsys.readouterr().out
    assert "command line: model.filters=8" in said
    assert "conf/model/resunet_s.yaml" in said
    assert "outputs in training: 64 x 64 x 32, 32 x 32 x 32" in said
    assert "8 patches" in said
    model_show(job("model=unetr", "patch_dim0=50"))
    assert "does not take this patch; nearest: patch_dim0=48" in capsys.readouterr().out


def test_show_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    model_show(job("model=unet", "model.filters=8", "json=true"))
    found = json.loads(capsys.readouterr().out)
    assert found["spec"]["filters"] == 8
    assert found["memory"]["fp32"]["total"] > found["memory"]["16bit"]["total"]
    assert found["cost"]["heads"][0] == [64, 64, 48]


def test_the_command_refuses_an_unknown_network_with_the_choices(fran) -> None:  # type: ignore[no-untyped-def]
    done = fran("model", "show", "resnet", "project=_new", "project.title=x")
    assert done.returncode == 2
    assert "resunet" in done.stderr
    assert "Traceback" not in done.stderr
