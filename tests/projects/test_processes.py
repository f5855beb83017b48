"""Several processes on one project, and processes that are killed."""

from __future__ import annotations

import ast
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fran.datasources.datasource import Datasource
from fran.projects.project import Project

from .raw_cases import write_cases
from .worker import project_in

REPOSITORY = Path(__file__).resolve().parents[2]


def start(root: Path, action: str, raw: Path) -> subprocess.Popen[str]:
    """A process that has imported everything and is about to begin."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("worker.py")), str(root), action, str(raw)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()


def state(project: Project) -> dict[str, Any]:
    """Everything that add_data leaves behind, without folds."""
    return {
        "cases": project.cases(),
        "sources": project.database.sources(),
        "verdicts": project.database.verdicts(),
        "links": {str(p): p.readlink() for p in project.folders.raw.rglob("*") if p.is_symlink()},
        "qc": project.folders.quality.read_bytes(),
    }


def test_two_add_at_once_while_a_third_reads(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    project.create()
    raw = [write_cases(tmp_path / "raw" / name, name, n) for name, n in (("kits", 9), ("lits", 7))]
    reader, *adders = [start(tmp_path, "read", raw[0]), *(start(tmp_path, "add", folder) for folder in raw)]
    assert [finish(process) for process in adders] == ["added 9", "added 7"]
    seen = ast.literal_eval(finish(reader).removeprefix("seen "))
    assert set(seen) <= {(0, 0), (9, 1), (7, 1), (16, 2)}, "a reader sees whole datasources"
    assert (len(project), project.datasources, project.has_folds) == (16, ["kits", "lits"], True)
    assert len(list(project.folders.raw_images.iterdir())) == 16
    assert project.maybe_store_projectwide_properties()["n_cases"] == 16
    sizes = [len(project.split(fold).val) for fold in range(5)]
    assert (sum(sizes), max(sizes) - min(sizes)) == (16, 1)


@pytest.mark.slow
def test_killed_at_twenty_moments_nothing_is_lost(tmp_path: Path) -> None:
    rng = random.Random(7)
    project = project_in(tmp_path)
    project.create()
    kits = write_cases(tmp_path / "raw" / "kits", "kits", 6)
    lits = write_cases(tmp_path / "raw" / "lits", "lits", 40, labels=(1, 3))
    project.add_data([Datasource(kits)])
    project.maybe_store_projectwide_properties()
    before = state(project)
    process = start(tmp_path, "add", lits)
    begin = time.perf_counter()
    assert finish(process) == "added 40"
    seconds = time.perf_counter() - begin
    project.drop_data("lits")
    assert state(project) == before
    project.add_data([Datasource(lits)])
    undisturbed = state(project)
    moments = []
    for _ in range(20):
        project.drop_data("lits")
        shutil.rmtree(project.folders.statistics("lits"))
        process = start(tmp_path, "add", lits)
        time.sleep(rng.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with closing(sqlite3.connect(project.folders.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert project.cases()[:6] == before["cases"]
        moments.append(len(project))
        project.add_data([Datasource(lits)])
        with project.database.transaction() as transaction:  # folds that the killed process had dealt
            transaction.put_cases([c for c in undisturbed["cases"] if c.ds == "lits"])
        assert state(project) == undisturbed
    assert set(moments) <= {6, 46}
    assert 6 in moments
