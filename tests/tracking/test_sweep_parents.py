from __future__ import annotations

from pathlib import Path

from fran.tracking.mlflow_logger import client_of, ensure_experiment, sqlite_uri
from fran.tracking.sweep_parents import log_sweep, sweep_run
from fran.tracking.sweeps import Sweep, sweep_for


def _sweep(folder: Path) -> Sweep:
    what = {
        "overrides": ["plan=plan1"],
        "differing": {"trainer.optimiser.lr": {"domain": "uniform", "low": 0, "high": 1}},
    }
    return sweep_for(folder, "search", what, name="lr", metric="val/dice", mode="max", command="fran train -m")


def test_a_sweep_has_one_run_that_can_be_searched_for(tmp_path: Path) -> None:
    uri, sweep = sqlite_uri(tmp_path / "mlflow.db"), _sweep(tmp_path / "sweeps")
    assert not log_sweep(_made(uri, tmp_path), sweep, "demo", {}, [], "FINISHED"), "the store has no such sweep yet"
    experiment = ensure_experiment(uri, "demo", (tmp_path / "a").as_uri())
    run_id = sweep_run(uri, experiment, sweep, "demo")
    assert sweep_run(uri, experiment, sweep, "demo") == run_id
    picture = tmp_path / "best.png"
    picture.write_bytes(b"x")
    assert log_sweep(uri, sweep, "demo", {"sweep/best": 0.5}, [picture], "FINISHED")
    client = client_of(uri)
    (run,) = client.search_runs([experiment], "tags.`fran.kind` = 'sweep' and tags.`fran.sweep` = 'lr'")
    assert run.info.run_id == run_id and run.info.status == "FINISHED" and run.info.run_name == "lr"
    assert run.data.metrics == {"sweep/best": 0.5}
    assert "uniform" in run.data.params["searched.trainer.optimiser.lr"]
    assert {a.path for a in client.list_artifacts(run_id)} == {"sweep.json", "best.png"}
    log_sweep(uri, sweep, "demo", {"sweep/best": 0.6}, [], "KILLED")
    assert client.get_run(run_id).data.metrics == {"sweep/best": 0.6}
    assert client.get_run(run_id).info.status == "KILLED"


def _made(uri: str, folder: Path) -> str:
    ensure_experiment(uri, "other", (folder / "b").as_uri())
    return uri
