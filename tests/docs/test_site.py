"""The pages as a site: whole, and nothing fetched while they are read. A broken link fails, for the build is strict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fran.cli import VERBS

REPOSITORY = Path(__file__).resolve().parents[2]
# what a browser loads by itself; links that a reader follows may lead elsewhere
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](?:https?:)?//|<link\b[^>]*\bhref=["'](?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_nothing_is_fetched_while_pages_are_read(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    loading = {p.name: found for p in pages if (found := LOADED.findall(p.read_text(encoding="utf-8")))}
    assert loading == {}


@pytest.mark.slow
def test_the_reference_has_every_verb_and_every_public_name(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in VERBS if f"fran {name}" not in commands] == []
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in (
        "fran.workflows.api.Project",
        "fran.workflows.api.ConfigMaker",
        "fran.workflows.calls.train",
        "fran.workflows.calls.infer",
        "fran.workflows.calls.score",
        "fran.evaluation.scoring.score_folder",
    ):
        assert f'id="{name}"' in python


@pytest.mark.slow
def test_every_page_is_in_the_site(site: Path) -> None:
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert (site / page.relative_to(REPOSITORY / "docs")).with_suffix(".html").is_file()
