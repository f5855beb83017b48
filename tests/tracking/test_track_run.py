"""Real trainings of a one-weight network, tracked in a real MLflow store in SQLite."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput

from fran.errors import ConfigError
from fran.tracking.mlflow_logger import (
    client_of,
    ensure_experiment,
    log_datasets,
    sqlite_uri,
    tracking_uri,
)
from fran.tracking.settings import TrackingSettings

from .tiny import CONFIG, train


def _artifacts(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    found = client.list_artifacts(run_id, folder)
    below = [_artifacts(client, run_id, entry.path) for entry in found if entry.is_dir]
    return {entry.path for entry in found if not entry.is_dir}.union(*below)


@pytest.mark.filterwarnings("ignore")
def test_a_run_fails_is_resumed_and_ends_well_as_one_mlflow_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run_id = train(tmp_path, epochs=3, fail_at=1)
    client = client_of(tracking_uri(TrackingSettings(), tmp_path / "proj"))
    failed = client.get_run(run_id)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["fran.error"] == "RuntimeError: out of luck"
    assert len(failed.data.params) == 122
    assert failed.data.params["trainer.lr"] == "0.1"
    assert failed.data.tags["fran.params_in_yaml_only"] == "long"
    assert failed.data.tags["mlflow.source.git.commit"] == "a" * 40
    assert failed.data.tags["fran.manifest_digest"] == "d" * 32
    assert failed.data.tags["fran.folds_digest"] == "f" * 16
    assert "fran.unannotated" not in failed.data.tags
    assert failed.data.tags["site"] == "here"
    assert failed.info.run_name == "plan1-tiny-f0-1"
    (dataset,) = failed.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("kits", "d" * 32)

    assert train(tmp_path, epochs=2, config={**CONFIG, "many0": 5}) == run_id
    done = client.get_run(run_id)
    assert done.info.status == "FINISHED"
    assert done.data.tags["fran.changed_on_resume"] == "many0: 0 -> 5"
    assert "fran.error" not in done.data.tags
    assert done.data.params["many0"] == "0"
    assert len(client.get_metric_history(run_id, "train_loss")) == 2
    assert _artifacts(client, run_id) == {
        "config.yaml",
        "config_resumed_1.yaml",
        "versions.json",
        "error.txt",
        "overlays/epoch_0002_kits_4.png",
    }
    assert len(client.search_runs([done.info.experiment_id])) == 1
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "proj" / "mlartifacts").is_dir()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_the_load_of_the_machine_is_sampled_where_it_is_asked_for(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    run_id = train(tmp_path, epochs=4, epoch_s=0.5, system_every_s=0.2)
    client = client_of(tracking_uri(TrackingSettings(), tmp_path / "proj"))
    metrics = client.get_run(run_id).data.metrics
    sampled = {name for name in metrics if name.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= sampled
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert {thread.name for thread in threading.enumerate()} <= before, "nobody goes on sampling"


@pytest.mark.slow
def test_two_processes_may_start_in_one_new_store(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fran.tracking.settings import TrackingSettings;"
        "from fran.tracking.mlflow_logger import make_logger;"
        "folder, name = Path(sys.argv[1]), sys.argv[2];"
        "logger = make_logger(TrackingSettings(), project='kits', run_name=name, project_folder=folder,"
        " run_folder=folder / name);"
        "[logger.log_metrics({'loss': float(i)}, i) for i in range(10)]; logger.finalize('success')"
    )
    calls = [[sys.executable, "-c", code, str(tmp_path), f"run{i}"] for i in range(2)]
    processes = [subprocess.Popen(call, stderr=subprocess.PIPE, text=True) for call in calls]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    client = client_of(tracking_uri(TrackingSettings(), tmp_path))
    experiment = client.get_experiment_by_name("kits")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["run0", "run1"]
    assert {run.data.metrics["loss"] for run in runs} == {9.0}


def test_several_trainings_may_name_the_same_new_data_at_once(tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path / "mlflow.db")
    experiment = ensure_experiment(uri, "kits", (tmp_path / "a").as_uri())
    n, rounds = 6, 5
    run_ids = [client_of(uri).create_run(experiment).info.run_id for _ in range(n)]
    together = threading.Barrier(n)

    def name_data(run_id: str) -> None:
        client = client_of(uri)
        for digest in range(rounds):
            together.wait(60)
            log_datasets(client, run_id, [DatasetInput(Dataset("kits", str(digest), "local", "folder"), [])])

    with ThreadPoolExecutor(n) as pool:
        list(pool.map(name_data, run_ids))
    for run_id in run_ids:
        inputs = client_of(uri).get_run(run_id).inputs.dataset_inputs
        assert sorted(i.dataset.digest for i in inputs) == [str(digest) for digest in range(rounds)]


def test_without_tracking_mlflow_is_not_imported() -> None:
    code = (
        "import sys; from fran.tracking.settings import TrackingSettings;"
        "from fran.tracking.mlflow_logger import make_logger;"
        "assert make_logger(TrackingSettings(backend='none'), project='p', run_name='r', project_folder='/nowhere',"
        " run_folder='/nowhere') is None;"
        "import fran.tracking.ui, fran.tracking.params, fran.tracking.environment;"
        "assert 'mlflow' not in sys.modules and 'torch' not in sys.modules, 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"backend": "mlflo"}, "did you mean 'mlflow'"),
        ({"uri": "./mlruns"}, "file store"),
        ({"overlay_every": -1}, "0 or"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        TrackingSettings(**settings).check()
