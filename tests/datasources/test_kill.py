"""A scan that is killed at any moment loses nothing that it had finished."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fran.datasources import store
from fran.datasources.datasource import Datasource

from .raw_pairs import Writer, image_array, lm_array

pytestmark = pytest.mark.slow

CASES = 60
KILLS = 20
CHILD = Path(__file__).with_name("scan_child.py")
REPOSITORY = Path(__file__).resolve().parents[2]


def start(folder: Path, place: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(place), "1"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def finished(place: Path) -> set[str]:
    """Cases that a scan has put on disk, in the index or beside it."""
    index = store.read_index(place)
    return {*index.cases, *store.strays(place, index)}


def arrays(place: Path) -> dict[str, list[np.ndarray]]:
    ids = sorted(store.read_facts(place))
    return {case: [a.sample, a.histogram, a.bins] for case, a in store.read_arrays(place, ids)}


def test_twenty_kills(folder: Path, pair: Writer, tmp_path: Path) -> None:
    def write(k: int, seed: int) -> None:
        lm = lm_array()
        lm.flat[:k] = 1
        pair(f"raw_{k:03d}", image=image_array(seed), lm=lm)

    for k in range(CASES):
        write(k, k)
    whole = start(folder, tmp_path / "whole")
    begin = time.monotonic()
    assert whole.wait() == 0
    seconds = time.monotonic() - begin
    rng = random.Random(0)
    place, before, interrupted = tmp_path / "killed", set[str](), 0
    for _ in range(KILLS):
        child = start(folder, place)
        time.sleep(rng.uniform(0.4, 1.0) * seconds)
        interrupted += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        after = finished(place)  # opens, whatever was going on
        assert before <= after
        before = after
        for k in rng.sample(range(CASES), CASES // 3):  # so that there is work to be killed in
            write(k, rng.randrange(10_000))
    assert interrupted >= KILLS // 4
    assert start(folder, place).wait() == 0
    undisturbed = Datasource(folder, modality="CT").scan(tmp_path / "fresh")
    assert store.read_facts(place) == {r.case_id: r.facts for r in undisturbed.records}
    found, expected = arrays(place), arrays(tmp_path / "fresh")
    assert found.keys() == expected.keys()
    for case_id, parts in found.items():
        for one, other in zip(parts, expected[case_id], strict=True):
            np.testing.assert_array_equal(one, other)
    files = (sorted(p.name for p in (root / store.CASES).iterdir()) for root in (place, tmp_path / "fresh"))
    assert next(files) == next(files)  # nothing half written is left


def test_two_scans_at_once(folder: Path, pair: Writer, tmp_path: Path) -> None:
    for k in range(10):
        pair(f"raw_{k}", image=image_array(k))
    children = [start(folder, tmp_path / "store") for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    report = Datasource(folder, modality="CT").scan(tmp_path / "store")
    assert (report.n_read, len(report.records)) == (0, 10)
