"""`fran doctor` on machines that were broken on purpose."""

from __future__ import annotations

import errno
import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fran.workflows import doctor_machine, doctor_places, doctor_stores
from fran.workflows.findings import Finding

NOBODY = 65534


def problems(findings: object) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "problem"]  # type: ignore[attr-defined]


def roots(folder: Path, **others: Path) -> dict[str, Path]:
    kinds = ("projects", "cold", "rapid", "checkpoints")
    return {"home": folder, **{kind: folder / kind for kind in kinds}, "scratch": Path(tempfile.gettempdir()), **others}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_folders_that_are_well(tmp_path: Path) -> None:
    found = {finding.what: finding for finding in doctor_places.folders(roots(tmp_path))}
    assert not problems(found.values())
    assert "will be made" in found["cold"].found and "will be made" not in found["home"].found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(open_folder: Path) -> None:
    (open_folder / "cold").mkdir()
    (open_folder / "cold").chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        found = problems(doctor_places.folders(roots(Path(tempfile.gettempdir()), cold=open_folder / "cold")))
    finally:
        if root:
            os.seteuid(0)
    assert [finding.what for finding in found] == ["cold"]
    assert os.strerror(errno.EACCES) in found[0].found and "paths.cold=" in found[0].next_step


def test_a_parent_that_cannot_be_entered(open_folder: Path) -> None:
    (open_folder / "locked" / "cold").mkdir(parents=True)
    (open_folder / "locked").chmod(0o000)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        found = problems(
            doctor_places.folders(roots(Path(tempfile.gettempdir()), cold=open_folder / "locked" / "cold"))
        )
    finally:
        if root:
            os.seteuid(0)
        (open_folder / "locked").chmod(0o755)
    assert [finding.what for finding in found] == ["cold"]


def test_a_disk_that_is_nearly_full_and_one_that_is_full(small_disk: Path) -> None:
    (found,) = problems(doctor_places.folders(roots(small_disk.parent, rapid=small_disk)))
    assert found.what == "rapid" and "nearly full" in found.found and "tmpfs" in found.found
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(4_000_000))
    (found,) = problems(doctor_places.folders(roots(small_disk.parent, rapid=small_disk)))
    assert os.strerror(errno.ENOSPC) in found.found and "fran cache gc" in found.next_step


def test_projects_whose_data_are_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "projects" / "kits").mkdir(parents=True)
    (tmp_path / "projects" / "kits" / "cases.db").touch()
    assert {finding.what for finding in problems(doctor_places.folders(roots(tmp_path)))} == {"cold", "checkpoints"}


def test_kinds_of_file_systems(tmp_path: Path) -> None:
    (tmp_path / "my disk").mkdir()
    mounts = tmp_path / "mounts"
    place = str(tmp_path / "my disk").replace(" ", "\\040")
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {place} nfs4 rw 0 0\n")
    assert doctor_places.file_system(tmp_path, mounts) == "ext4"
    assert doctor_places.file_system(tmp_path / "my disk", mounts) == "nfs4"


def test_configuration_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAN_HOME", str(tmp_path / "home"))
    own = tmp_path / "own"
    (own / "plan").mkdir(parents=True)
    (own / "plan" / "fine.yaml").write_text("plan_name: fine\nspacign: [1, 1, 1]\n")
    monkeypatch.setenv("FRAN_CONF", f"{own}{os.pathsep}{tmp_path / 'gone'}")
    found = problems(doctor_places.configuration())
    assert [finding.what for finding in found] == ["FRAN_CONF", "plan fine"]
    assert (
        "gone" in found[0].found
        and "spacign" in found[1].found
        and found[1].next_step.startswith("fran plan show fine")
    )


def test_what_killed_processes_left(tmp_path: Path) -> None:
    stage = tmp_path / "cold" / "datasets" / "stage"
    stage.mkdir(parents=True)
    for name in (".tmp-old.h5", ".tmp-new.h5", "case.h5"):
        (stage / name).write_bytes(bytes(1000))
    (tmp_path / ".tmp-77-folder").mkdir()
    (tmp_path / ".tmp-77-folder" / "x").write_bytes(bytes(2_000_000))
    for path in (stage / ".tmp-old.h5", tmp_path / ".tmp-77-folder"):
        os.utime(path, (time.time() - 7200,) * 2)
    (found,) = doctor_places.leftovers([tmp_path])
    assert found.severity == "note" and "2 half-written" in found.found and "2 MB" in found.found
    os.utime(stage / ".tmp-new.h5", (time.time() - 7200,) * 2)
    subprocess.run(found.next_step.partition(": ")[2], shell=True, check=True)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["case.h5"]
    assert next(doctor_places.leftovers([tmp_path])).severity == "ok"


def test_interrupted_trainings(tmp_path: Path) -> None:
    from fran.tracking.runs import RunRecord, write_record

    for name, result in (("a", {}), ("b", {"stopped_by": "max_epochs"})):
        run = tmp_path / "kits" / name
        run.mkdir(parents=True)
        (run / "last.ckpt").touch()
        write_record(RunRecord(run, "kits", "plan1", "unet", 0, "x", "y", "z", "2026-01-01T00:00:00+00:00", result))
    (found,) = doctor_places.trainings(tmp_path)
    assert found.next_step == "fran train project=kits resume=a"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A SQLite file with the mark of MLflow's newest schema."""
    file = tmp_path / "mlflow.db"
    (head,) = doctor_stores.revisions()[1]
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("INSERT INTO alembic_version VALUES (?)", (head,))
    return file


def test_the_newest_schema_is_that_of_a_real_store(tmp_path: Path) -> None:
    known, heads = doctor_stores.revisions()
    assert len(heads) == 1 and heads < known and len(known) > 20


@pytest.mark.slow
def test_a_store_that_mlflow_made_is_well(tmp_path: Path) -> None:
    from fran.tracking.mlflow_logger import ensure_experiment, sqlite_uri

    ensure_experiment(sqlite_uri(tmp_path / "mlflow.db"), "kits", str(tmp_path / "artifacts"))
    assert doctor_stores.sqlite_store(tmp_path / "mlflow.db") is None


def test_a_store_that_another_process_holds(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_stores, "LOCKED_S", 0.1)
    assert doctor_stores.sqlite_store(store) is None
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found = doctor_stores.sqlite_store(store)
    assert found is not None and "locked" in found.found and "fuser" in found.next_step


@pytest.mark.parametrize(
    ("revision", "said"), [("older", "mlflow db upgrade"), ("0123456789ab", "pip install --upgrade")]
)
def test_a_store_of_another_version(store: Path, revision: str, said: str) -> None:
    known, heads = doctor_stores.revisions()
    revision = min(known - heads) if revision == "older" else revision
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    (found,) = problems(doctor_stores.sqlite_stores([store]))
    assert said in found.next_step and revision in found.found


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(range(256)) * 8, b"no database" * 100])
def test_a_damaged_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    (found,) = problems(doctor_stores.sqlite_stores([tmp_path / "mlflow.db"]))
    assert found.next_step and (tmp_path / "mlflow.db").read_bytes() == content


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_is_not_there(scheme: str) -> None:
    (found,) = problems(doctor_stores.server(f"{scheme}://127.0.0.1:{closed_port()}"))
    assert "tracking=offline" in found.next_step


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow's server does, or with the status that the path begins with."""

    def do_GET(self) -> None:
        _, first, *_ = self.path.split("/")
        self.send_response(int(first) if first.isdecimal() else 200)
        self.end_headers()
        self.wfile.write(b"3.17.2" if self.path == "/version" else b"OK")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_servers_that_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    note, found = doctor_stores.server(address)
    assert note.severity == "note" and "http://elsewhere" in note.found
    assert found.severity == "ok" and "3.17.2" in found.found
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "MLFLOW_TRACKING_TOKEN" in problems(doctor_stores.server(f"{address}/401"))[0].next_step
    assert "404" in problems(doctor_stores.server(f"{address}/404"))[0].found
    assert list(doctor_stores.server(None)) == list(doctor_stores.server("offline")) == []


def test_requirements() -> None:
    asked = ["torch>=2.8,!=2.9.*", "rich>=13.7", "numpy>=2", 'ray>=2.50; extra == "ray"', 'pytest; extra == "dev"']
    versions = {"torch": "2.9.1+cu128", "numpy": "2.4"}
    found = list(doctor_machine.unmet(asked, versions))
    assert [(f.what, f.severity) for f in found] == [("torch", "problem"), ("rich", "problem"), ("fran[ray]", "note")]
    assert "2.9.1+cu128" in found[0].found and found[2].next_step == "pip install 'fran[ray]'"


def test_every_extra_is_explained() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {*project["optional-dependencies"]} - {"dev"} == {*doctor_machine.EXTRAS}


@pytest.mark.parametrize(
    ("files", "cores", "limit"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "2000000000"}, 1.5, 2_000_000_000),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000", "memory/memory.limit_in_bytes": "7"},
            0.5,
            7,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ({}, None, None),
    ],
)
def test_control_groups(files: dict[str, str], cores: float | None, limit: int | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert doctor_machine.cpu_quota(tmp_path) == cores
    assert doctor_machine.memory_limit(tmp_path) == limit


def test_more_threads_than_cores_and_little_shared_memory(small_disk: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / "cpu.max").write_text("50000 100000\n")
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = problems(doctor_machine.machine(tmp_path, small_disk))
    finally:
        torch.set_num_threads(before)
    assert [finding.what for finding in found] == ["threads", "shared memory"]
    assert found[0].next_step == "export OMP_NUM_THREADS=1" and "--shm-size" in found[1].next_step


@pytest.mark.parametrize(
    ("half_s", "severity", "said"), [(0.0052, "ok", "bf16-mixed 5.2 ms"), (0.19, "problem", "bf16-mixed 190 ms")]
)
def test_what_a_slow_convolution_means(half_s: float, severity: str, said: str) -> None:
    found = doctor_machine.judged({"float32": 0.01, "precision": half_s}, "bf16-mixed")
    assert found.severity == severity and bool(found.next_step) == (severity != "ok")
    assert found.found.startswith(f"float32 10 ms, {said}")


def test_no_type_is_tried_that_no_training_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from fran.training import convolution, hardware

    tried = set()
    timed = convolution._timed
    monkeypatch.setattr(hardware, "resolve_precision", lambda *_: "32-true")
    monkeypatch.setattr(convolution, "_timed", lambda image, weight: tried.add(image.dtype) or timed(image, weight))
    found = doctor_machine.convolution(torch.device("cpu"), "cpu")
    assert tried == {torch.float32} and "precision=auto takes 32-true" in found.found


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fran.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.mark.slow
def test_the_command_says_problems_and_what_to_do(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    broken = {"FRAN_HOME": str(tmp_path / "home"), "FRAN_CONF": str(tmp_path / "gone"), "COLUMNS": "80"}
    done = ran(f"tracking.uri={uri}", **broken)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for text in (
        "Versions",
        "problem  FRAN_CONF:",
        f"MLflow server {uri}",
        "-> start it, or train with tracking=offline",
    ):
        assert text in done.stdout
    assert "problems; what to do" in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_the_same_for_programs(tmp_path: Path) -> None:
    done = ran("--json", FRAN_HOME=str(tmp_path), FRAN_CONF=str(tmp_path / "gone"))
    answer = json.loads(done.stdout)
    wrong = [finding for finding in answer["findings"] if finding["severity"] == "problem"]
    assert done.returncode == 1 and answer["problems"] == len(wrong)
    assert "FRAN_CONF" in {finding["what"] for finding in wrong} and all(finding["next_step"] for finding in wrong)
    assert {"Versions", "Machine", "GPU and convolutions", "Folders", "MLflow"} <= {
        f["area"] for f in answer["findings"]
    }
