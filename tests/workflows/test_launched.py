"""Trainings whose two processes torchrun or SLURM start: one run, one record, one voice."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fran.datasources.phantom import make_phantoms
from fran.io.case_table import read_cases
from fran.tracking.mlflow_logger import client_of, sqlite_uri
from fran.training.ranks import free_port

QUICK = (
    "project=demo", "patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]", "model.filters=4", "trainer.max_epochs=2",
    "trainer.steps_per_epoch=2", "trainer.num_workers=0", "trainer.val_every_n_epochs=1", "trainer.accelerator=cpu",
    "tracking.overlay_every=0",
)  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(fran, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 4, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    return tmp_path


def start(arguments: tuple[str, ...], **extra: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **extra}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def by_torchrun(*arguments: str) -> list[tuple[int, str]]:
    port = f"--master-port={free_port()}"
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", port, "-m", "fran.cli")
    return ended([start((*torchrun, *arguments))])


def by_slurm(*arguments: str) -> list[tuple[int, str]]:
    """Two processes with what `srun --ntasks-per-node 2` puts into their environment."""
    common = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train"}
    common |= {
        "SLURM_JOB_ID": "71",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "MASTER_PORT": f"{free_port()}",
    }
    places = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1")]
    return ended([start(("-m", "fran.cli", *arguments), **common, **place) for place in places])


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit status and what was said, of each."""
    found = []
    for process in processes:
        try:
            said, error = process.communicate(timeout=900)
        finally:
            process.kill()
        found.append((process.returncode, said + error))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("launch", [by_torchrun, by_slurm])
def test_processes_that_others_started_are_one_training(launch, project: Path, fran_home: Path) -> None:  # type: ignore[no-untyped-def]
    found = launch("train", *QUICK)
    assert [status for status, _ in found] == [0] * len(found), found
    (run,) = (fran_home / "cold" / "checkpoints" / "demo").iterdir()
    assert run.name == "plan1-dynunet-f0-1"
    with (run / "metrics.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2", "4"]
    cases = [(row.case, row.label) for row in read_cases(run / "cases.csv")]
    assert len(cases) == len(set(cases)) == 2
    assert (run / "curves.png").is_file()
    assert sum(said.count("4 cases preprocessed") for _, said in found) == 1
    client = client_of(sqlite_uri(fran_home / "projects" / "demo" / "mlflow.db"))
    (experiment,) = [e for e in client.search_experiments() if e.name == "demo"]
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert (tracked.info.run_name, tracked.info.status) == (run.name, "FINISHED")

    resumed = launch("train", "project=demo", f"resume={run.name}", "trainer.max_epochs=3")
    assert [status for status, _ in resumed] == [0] * len(resumed), resumed
    with (run / "metrics.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2", "4", "6"]


@pytest.mark.slow
def test_what_does_not_train_ends_in_all_processes(project: Path, fran_home: Path) -> None:
    ((status, said),) = by_torchrun("train", *QUICK, "--dry-run")
    assert status == 0
    assert said.count("nothing was done") == 1
    ((status, said),) = by_torchrun("train", *QUICK, "trainer.devices=3")
    assert status != 0
    assert "nothing, or 2, as many as the processes that torchrun started" in said
    assert not list((fran_home / "cold" / "checkpoints" / "demo").glob("*"))
