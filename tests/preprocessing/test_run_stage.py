from __future__ import annotations

import csv
import io
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console

from fran.errors import CasesFailed, DataError, StoreError
from fran.io.files import file_digest
from fran.io.manifest import MANIFEST_NAME, Manifest, ManifestEntry
from fran.parallel.progress import progress
from fran.preprocessing.run import LOG_NAME, run_stage
from fran.preprocessing.stages.source import CaseJob, SourceParams
from fran.preprocessing.summary import SUMMARY_FILES

MakeCase = Callable[..., CaseJob]
PARAMS = SourceParams((1.5, 1.0, 3.0))


def contents(folder: Path) -> dict[str, bytes]:
    """What a run leaves, without its diary, its lock and torn temporary files."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != LOG_NAME and not p.name.startswith(".")}


def modified(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.h5")}


def log_lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


@pytest.fixture
def jobs(make_case: MakeCase) -> list[CaseJob]:
    return [make_case(f"c{i}") for i in range(4)]


def test_everything_is_there_and_a_rerun_does_nothing(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[tuple[int, int, str]] = []
    summary = run_stage(jobs, PARAMS, out, progress=lambda *event: seen.append(event))
    assert (summary.done, summary.skipped, summary.failed) == (4, 0, 0)
    assert seen == [(0, 4, ""), (1, 4, "c0"), (2, 4, "c1"), (3, 4, "c2"), (4, 4, "c3")]
    manifest = Manifest.load(out)
    assert sorted(manifest.cases) == ["c0", "c1", "c2", "c3"]
    entry = manifest.cases["c1"]
    assert entry.labels == manifest.reader("c1").meta.labels and entry.datasource == "kits"
    assert entry.bytes == (out / entry.file).stat().st_size and entry.shape == (16, 25, 10)
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    again = run_stage(jobs, PARAMS, out)
    assert (again.done, again.skipped) == (0, 4)
    after = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    assert {n: t for n, t in after.items() if n != ".lock"} == {n: t for n, t in before.items() if n != ".lock"}


def test_summaries(jobs: list[CaseJob], make_case: MakeCase, tmp_path: Path) -> None:
    out = tmp_path / "out"
    empty = make_case("e0", lm=np.zeros((10, 12, 14), np.uint8), modality="MR")
    run_stage([*jobs, empty], PARAMS, out)
    manifest = Manifest.load(out)
    summary = json.loads((out / "dataset_summary.json").read_text())
    assert summary["n_cases"] == 5 and summary["n_without_foreground"] == 1
    assert summary["modalities"] == {"CT": 4, "MR": 1}
    assert summary["labels"]["3"] == {
        "n_cases": 4,
        "n_voxels": sum(e.labels.get(3, 0) for e in manifest.cases.values()),
    }
    assert summary["shape"]["min"] == [7, 16, 10] and summary["shape"]["median"] == [16, 25, 10]
    assert json.loads((out / "labels_all.json").read_text()) == [1, 3]
    rows = list(csv.DictReader(io.StringIO((out / "dataset_details.csv").read_text())))
    assert [row["case_id"] for row in rows] == ["c0", "c1", "c2", "c3", "e0"]
    assert rows[0]["voxels_3"] == str(manifest.cases["c0"].labels[3]) and rows[4]["voxels_3"] == "0"


def test_one_process_and_two_write_the_same_bytes(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_stage(jobs, PARAMS, tmp_path / "one", 1)
    run_stage(list(reversed(jobs)), PARAMS, tmp_path / "two", 2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_added_case_costs_one_case(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs[:3], PARAMS, out)
    before = modified(out)
    summary = run_stage(jobs, PARAMS, out)
    assert (summary.done, summary.skipped) == (1, 3)
    assert before.items() < modified(out).items()


def test_a_changed_case_is_made_again(jobs: list[CaseJob], make_case: MakeCase, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    changed = make_case("c2", image=np.full((24, 19, 14), 7, np.int16))
    summary = run_stage([*jobs[:2], changed, jobs[3]], PARAMS, out)
    assert (summary.done, summary.skipped) == (1, 3)
    assert Manifest.load(out).reader("c2").read_all()[0].max() == 7


def test_a_removed_case_is_not_listed_but_kept(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    run_stage(jobs[1:], PARAMS, out)
    assert sorted(Manifest.load(out).cases) == ["c1", "c2", "c3"] and (out / "c0.h5").exists()
    assert run_stage(jobs, PARAMS, out).adopted == 1
    run_stage(jobs[1:], PARAMS, out, also_listed=["c0"])
    assert sorted(Manifest.load(out).cases) == ["c0", "c1", "c2", "c3"]


@pytest.mark.parametrize("with_manifest", [True, False])
def test_truncated_and_altered_files_are_made_again(jobs: list[CaseJob], tmp_path: Path, with_manifest: bool) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    expected = contents(out)
    (out / "c1.h5").write_bytes(expected["c1.h5"][:-100])
    done = 1
    if not with_manifest:
        (out / MANIFEST_NAME).unlink()
        with h5py.File(out / "c2.h5") as file:
            chunk = file["image"].id.get_chunk_info(0)
        altered = bytearray(expected["c2.h5"])
        altered[chunk.byte_offset + chunk.size - 1] ^= 0x55
        (out / "c2.h5").write_bytes(altered)
        done = 2
    summary = run_stage(jobs, PARAMS, out)
    assert (summary.done, summary.done + summary.adopted + summary.skipped) == (done, 4)
    assert contents(out) == expected


def test_a_damaged_manifest_is_rebuilt_without_work(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    expected = contents(out)
    (out / MANIFEST_NAME).write_text("{")
    assert run_stage(jobs, PARAMS, out, 2).adopted == 4
    assert contents(out) == expected


@pytest.mark.parametrize("num_processes", [1, 2])
def test_bad_cases_among_good_ones(jobs: list[CaseJob], tmp_path: Path, num_processes: int) -> None:
    out = tmp_path / "out"
    jobs[1].image.write_bytes(b"nonsense")
    jobs[3] = replace(jobs[3], lm=tmp_path / "missing.nii.gz", lm_digest=None)
    with pytest.raises(CasesFailed, match="2 of 4 cases") as failed:
        run_stage(jobs, PARAMS, out, num_processes)
    assert [p.case_id for p in failed.value.problems] == ["c1", "c3"]
    assert failed.value.problems[0].path == str(jobs[1].image)
    assert sorted(Manifest.load(out).cases) == ["c0", "c2"]
    traces = {line["case_id"]: line["trace"] for line in log_lines(out) if line["status"] == "failed"}
    assert sorted(traces) == ["c1", "c3"] and all("Traceback" in str(t) for t in traces.values())


def test_a_case_that_turns_bad_leaves_the_manifest(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    jobs[0].image.write_bytes(b"nonsense")
    with pytest.raises(CasesFailed):
        run_stage([replace(jobs[0], image_digest=file_digest(jobs[0].image)), *jobs[1:]], PARAMS, out)
    assert "c0" not in Manifest.load(out).cases and (out / "c0.h5").exists()


def test_digests_are_read_where_they_are_not_given(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    expected = contents(out)
    unknown = [replace(job, image_digest=None, lm_digest=None) for job in jobs]
    summary = run_stage(unknown, PARAMS, out)
    assert (summary.skipped, summary.done) == (4, 0) and contents(out) == expected


def test_renamed_datasource_reaches_the_manifest(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    assert run_stage([replace(job, datasource="kits2") for job in jobs], PARAMS, out).skipped == 4
    assert {e.datasource for e in Manifest.load(out).cases.values()} == {"kits2"}


def test_other_parameters_need_another_folder(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    expected = contents(out)
    with pytest.raises(StoreError, match="choose a folder of its own"):
        run_stage(jobs, SourceParams((2, 2, 2)), out)
    assert contents(out) == expected


def test_repeated_case_ids(jobs: list[CaseJob], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="c1 more than once"):
        run_stage([*jobs, jobs[1]], PARAMS, tmp_path / "out")


def test_missing_summaries_are_written_again(jobs: list[CaseJob], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(jobs, PARAMS, out)
    expected = contents(out)
    for name in SUMMARY_FILES:
        (out / name).unlink()
    run_stage(jobs, PARAMS, out)
    assert contents(out) == expected


def test_finished_cases_are_never_opened(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    raw = [tmp_path / "gone.nii.gz"] * 2  # never opened
    jobs = [CaseJob(f"c{i}", *raw, f"i{i}", f"l{i}", "CT", "kits") for i in range(1000)]
    statistics = dict.fromkeys(("mean", "std", "min", "max", "p005", "p995"), 1.5)
    manifest = Manifest(out, PARAMS.name, PARAMS.to_dict(), PARAMS.key())
    for job in jobs:
        (out / f"{job.case_id}.h5").write_bytes(b"12345")
        key = PARAMS.case_key(job)
        labels = dict.fromkeys(range(1, 30), 1000)
        manifest.cases[job.case_id] = ManifestEntry(
            f"{job.case_id}.h5", key, 5, (9, 8, 7), (1.5, 1.0, 3.0), labels, statistics, "CT", "kits"
        )
    manifest.save()
    run_stage(jobs, PARAMS, out)  # writes the summaries
    assert run_stage(jobs, PARAMS, out, 2).skipped == 1000


RUN_IN_ANOTHER_PROCESS = """
import pickle, sys
from pathlib import Path
from fran.preprocessing.run import run_stage

if __name__ == "__main__":
    jobs, params = pickle.loads(Path(sys.argv[1]).read_bytes())
    run_stage(jobs, params, Path(sys.argv[2]), int(sys.argv[3]))
"""


def start_elsewhere(
    jobs: list[CaseJob], params: SourceParams, out: Path, num_processes: int
) -> subprocess.Popen[bytes]:
    script, pickled = out.parent / "run_elsewhere.py", out.parent / f"{jobs[0].case_id}.pickle"
    script.write_text(RUN_IN_ANOTHER_PROCESS)
    pickled.write_bytes(pickle.dumps((jobs, params)))
    return subprocess.Popen([sys.executable, str(script), str(pickled), str(out), str(num_processes)])


@pytest.mark.parametrize("num_processes", [1, 2])
def test_kill_9_and_rerun_gives_the_bytes_of_an_undisturbed_run(
    make_case: MakeCase, tmp_path: Path, num_processes: int
) -> None:
    image = np.random.default_rng(1).integers(-900, 900, (90, 80, 70)).astype(np.int16)
    lm = (image > 500).astype(np.uint8)
    first = make_case("k0", image=image, lm=lm)
    jobs = [replace(first, case_id=f"k{i}") for i in range(10)]
    params, out = SourceParams((0.9, 1.0, 1.5)), tmp_path / "killed"
    process = start_elsewhere(jobs, params, out, num_processes)
    deadline = time.monotonic() + 60
    while not list(out.glob("k*.h5")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9
    assert not (out / MANIFEST_NAME).exists(), "the run had ended before it was killed"
    summary = run_stage(jobs, params, out, num_processes)
    assert summary.adopted >= 1 and summary.done >= 1 and summary.adopted + summary.done == 10
    run_stage(jobs, params, tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_two_runs_on_one_folder(make_case: MakeCase, tmp_path: Path) -> None:
    jobs = [make_case(f"c{i}") for i in range(8)]
    out = tmp_path / "out"
    processes = [start_elsewhere(part, PARAMS, out, 1) for part in (jobs[:6], jobs[2:])]
    assert [p.wait(timeout=120) for p in processes] == [0, 0]
    run_stage(jobs, PARAMS, tmp_path / "alone")
    run_stage(jobs, PARAMS, out)
    assert contents(out) == contents(tmp_path / "alone")


def test_progress(jobs: list[CaseJob], tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with progress("source", console=console) as update:
        run_stage(jobs, PARAMS, tmp_path / "out", progress=update)
    assert "4/4" in console.file.getvalue() and "cases/s" in console.file.getvalue()
