from __future__ import annotations

import re
from pathlib import Path

import pytest

from .plan_page import commands, make_project, output, shown


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        _at(home, patch)
        make_project(home)
    return home


def _at(home: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HOME", str(home))
    for name in ("FRAN_HOME", "FRAN_CONF", "FRAN_COMMON_PATHS"):
        patch.delenv(name, raising=False)


def test_the_page_shows_every_verb() -> None:
    verbs = {" ".join(command.split()[:3]) for command in commands()}
    assert {f"fran plan {verb}" for verb in ("list", "show", "diff", "explain")} <= verbs
    assert sum("--dry-run" in command for command in commands()) == 2


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=pytest.mark.slow if c.startswith("fran train") else ()) for c in commands()]
)
def test_what_the_page_shows_is_what_is_printed(home: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    _at(home, monkeypatch)
    printed, page = _alike(output(command)), _alike(shown(command))
    assert printed == page, "run: python tests/workflows/plan_page.py"


def _alike(said: str) -> str:
    """Without what differs between places: folders of imported labels, and the precision that this CPU is quick in."""
    said = re.sub(r"LITS-1088_[0-9a-f]{6}", "LITS-1088", said)
    return re.sub(r"about [\d.]+ GiB a step in \S+, estimated: .*", "about the memory of a step", said)
