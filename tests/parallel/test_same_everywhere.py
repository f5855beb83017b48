"""One process, two, or a cluster: the same files, byte for byte."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.scan import ScanReport
from fran.parallel.local import run_jobs
from fran.parallel.ray import RayCluster
from fran.preprocessing.run import run_stage
from fran.preprocessing.stages.source import CaseJob, SourceParams

pytestmark = pytest.mark.slow

AFFINE = np.array([[-1.2, 0.1, 0.0, 30.0], [0.1, 1.2, 0.0, -12.5], [0.0, 0.0, 2.5, 7.0], [0.0, 0.0, 0.0, 1.0]])
RUNS = ("one", "two", "ray")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for side in ("images", "lms"):
        (tmp_path / "raw" / side).mkdir(parents=True)
    for k in range(4):
        lm = np.zeros((9, 11, 13), np.uint8)
        lm[2:6, 3 : 8 + k % 2, 4:9] = rng.integers(0, 3, lm[2:6, 3 : 8 + k % 2, 4:9].shape)
        arrays = {"images": rng.integers(-1000, 900, lm.shape).astype(np.int16), "lms": lm}
        for side, array in arrays.items():
            nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "raw" / side / f"raw_{k}.nii.gz")
    (tmp_path / "raw" / "images" / "raw_3.nii.gz").write_bytes(b"nonsense")
    return tmp_path / "raw"


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file but the log, whose lines bear times."""
    paths = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def backends(address: str) -> dict[str, tuple[int, object]]:
    return {"one": (1, run_jobs), "two": (2, run_jobs), "ray": (2, RayCluster(address))}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr("fran.datasources.scan.BYTES_PER_WORKER", 1)


def scans(folder: Path, tmp_path: Path, address: str) -> dict[str, ScanReport]:
    source = Datasource(folder, modality="CT")
    return {
        name: source.scan(tmp_path / "scan" / name, workers, execute=execute)  # type: ignore[arg-type]
        for name, (workers, execute) in backends(address).items()
    }


def test_scan_and_preprocessing(folder: Path, tmp_path: Path, ray_address: str) -> None:
    reports = scans(folder, tmp_path, ray_address)
    assert [len(reports[name].records) for name in RUNS] == [3, 3, 3]
    assert reports["one"].problems == reports["two"].problems == reports["ray"].problems
    stores = [contents(tmp_path / "scan" / name) for name in RUNS]
    assert stores[0] == stores[1] == stores[2]
    assert len(stores[0]) == 3 + 2  # a file a case, the index, the lock

    jobs = [
        CaseJob(r.case_id, r.image, r.lm, r.facts.image_stamp.digest, r.facts.lm_stamp.digest, "CT", "raw")
        for r in reports["one"].records
    ]
    params = SourceParams((1.0, 1.5, 2.0), True, ())
    for name, (workers, execute) in backends(ray_address).items():
        run_stage(jobs, params, tmp_path / "stage" / name, workers, execute=execute)  # type: ignore[arg-type]
    made = [contents(tmp_path / "stage" / name) for name in RUNS]
    assert made[0] == made[1] == made[2]
    assert sum(name.endswith(".h5") for name in made[0]) == 3
