from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from fran.parallel.progress import progress, shown

SLOW = """
import time
from fran.parallel.progress import shown
for _ in shown(range(6), 6, 'scan kits', True):
    time.sleep(0.5)
"""


def ran(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)


def test_a_bar_says_count_rate_and_time_left() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with progress("scan", console=console) as update:
        update(0, 3)
        update(3, 3, "case_7")
    text = console.file.getvalue()
    assert "3/3" in text and "cases/s" in text and "case_7" in text


@pytest.mark.slow
def test_lines_where_there_is_no_terminal() -> None:
    done = ran(SLOW, COLUMNS="80")
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"scan kits: \d of 6 cases, \d\.\d (cases/s|s/case), 0:00:0\d left", lines[0])
    assert re.fullmatch(r"scan kits: 6 of 6 cases, \d\.\d (cases/s|s/case), in 0:00:0\d", lines[-1])
    assert len(lines) <= 3


@pytest.mark.slow
def test_quiet_says_nothing() -> None:
    assert ran(SLOW, FRAN_QUIET="1").stderr == ""


def test_short_work_is_not_worth_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(shown(iter("abc"), 3, "scan", True)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_megabytes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fran.parallel.progress._FIRST_S", 0.0)
    with progress("run", "MB") as update:
        update(1.5, 8.0)
        update(8.0, 8.0)
    assert re.search(r"run: 8 of 8 MB, [\d.]+ MB/s", capsys.readouterr().err)


def test_the_first_unit_has_a_rate_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fran.parallel.progress._FIRST_S", 1.0)
    clock = iter((0.0, 1.0, 11.0))  # made, told of the whole work, told of the first unit
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with progress("score") as update:
        update(0, 4)
        update(1, 4)
    assert capsys.readouterr().err.splitlines()[-1] == "score: 1 of 4 cases, 10.0 s/case, 0:00:30 left"


def test_a_case_that_is_half_done_is_not_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fran.parallel.progress._FIRST_S", 0.0)
    with progress("predict") as update:
        update(1.75, 3, "case_2")
    assert capsys.readouterr().err.startswith("predict: 1 of 3 cases")
