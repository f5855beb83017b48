"""Checkpoints out of a real MLflow store."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.errors import ConfigError, StoreError
from fran.io.checkpoint import write_checkpoint
from fran.tracking.fetch import fetch_model
from fran.tracking.mlflow_logger import client_of, ensure_experiment


def test_runs_and_aliases_of_a_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"
    experiment = ensure_experiment(uri, "kits", (tmp_path / "artefacts").as_uri())
    client = client_of(uri)
    ids, files = [], []
    client.create_registered_model("kits-plan1-dynunet")
    for number in range(2):
        run = client.create_run(experiment)
        file = tmp_path / f"{number}" / "best.ckpt"
        write_checkpoint({"number": number}, file)
        client.log_artifact(run.info.run_id, str(file), "checkpoints")
        source = f"{run.info.artifact_uri}/checkpoints/best.ckpt"
        client.create_model_version("kits-plan1-dynunet", source, run.info.run_id)
        ids.append(run.info.run_id)
        files.append(file.read_bytes())
    copies = tmp_path / "copies"
    found = fetch_model(uri, f"mlflow:{ids[0]}", "best", copies)
    assert found == copies / "mlflow" / ids[0] / "best.ckpt"
    assert found.read_bytes() == files[0]
    for version, name in (("1", "best"), ("2", "best")):
        client.set_registered_model_alias("kits-plan1-dynunet", name, version)
        path = fetch_model(uri, "models:/kits-plan1-dynunet@best", "best", copies)
        assert path.read_bytes() == files[int(version) - 1], "the alias is followed"
    assert fetch_model(uri, "models:/kits-plan1-dynunet/1", "last", copies).read_bytes() == files[0]
    found.write_bytes(b"damaged")
    assert fetch_model(uri, f"mlflow:{ids[0]}", "best", copies).read_bytes() == files[0]
    before = found.stat().st_mtime_ns
    fetch_model(uri, f"mlflow:{ids[0]}", "best", copies)
    assert found.stat().st_mtime_ns == before, "nothing came the second time"
    with pytest.raises(StoreError, match="cannot be had"):
        fetch_model(uri, f"mlflow:{'0' * 32}", "best", copies)
    with pytest.raises(StoreError, match="cannot be had"):
        fetch_model(uri, "models:/kits-plan1-dynunet@none", "best", copies)
    empty = client.create_run(experiment).info.run_id
    with pytest.raises(StoreError, match="no checkpoint in its artefacts"):
        fetch_model(uri, f"mlflow:{empty}", "best", copies)
    for name in ("mlflow:../../x", "models:/a/b", "models:/a"):
        with pytest.raises(ConfigError, match="runs: expected"):
            fetch_model(uri, name, "best", copies)
