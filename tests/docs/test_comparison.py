"""docs/comparison.md: what it says of fran leads to a proof that exists, and its figures were measured."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "comparison.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def fran_cells() -> list[tuple[str, str]]:
    """Rows of every table with a column called fran: what the row is about, and what is said of fran."""
    found, column = [], -1
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            column = -1
        elif "fran" in cells[1:]:
            column = cells.index("fran")
        elif column > 0 and not set(line) <= set("|- "):
            found.append((cells[0], cells[column]))
    return found


def anchors(file: Path) -> dict[str, str]:
    """Text of every section by its anchor: MkDocs's for the pages of the site, GitHub's for other files."""
    text = file.read_text(encoding="utf-8")
    parts = HEADING.split(text)
    slug = _mkdocs if file.parent == PAGE.parent else _github
    return {slug(title): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def _mkdocs(title: str) -> str:
    kept = re.sub(
        r"[^\w\s-]", "", unicodedata.normalize("NFKD", title.replace("`", "")).encode("ascii", "ignore").decode()
    )
    return re.sub(r"[-\s]+", "-", kept.strip().lower())


def _github(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


CELLS = fran_cells()
LINKS = sorted({target for _, cell in CELLS for _, target in LINK.findall(cell)})


def test_there_is_much_to_prove() -> None:
    assert len(CELLS) > 50
    assert sum(target.startswith("../tests/") for target in LINKS) > 50


def test_every_claim_has_a_proof() -> None:
    assert [(about, cell) for about, cell in CELLS if not LINK.search(cell)] == []


def test_every_proof_exists() -> None:
    """A link into tests/ names the test: `test_file.py#test_name`."""
    missing = []
    for target in LINKS:
        path, _, anchor = target.partition("#")
        file = (PAGE.parent / path).resolve()
        there = file.is_file() and file.is_relative_to(REPOSITORY)
        if there and file.is_relative_to(REPOSITORY / "tests"):
            there = re.search(rf"^def {anchor}\(", file.read_text(encoding="utf-8"), re.MULTILINE) is not None
        elif anchor and there:
            there = anchor in anchors(file)
        if not there:
            missing.append(target)
    assert missing == []


def test_figures_are_those_that_were_measured() -> None:
    checked = 0
    for _, cell in CELLS:
        for words, target in LINK.findall(cell):
            path, _, anchor = target.partition("#")
            if Path(path).name != "RESULTS.md":
                continue
            measured = set(re.findall(r"\d+(?:\.\d+)?", anchors((PAGE.parent / path).resolve())[anchor]))
            figures = re.findall(r"\d+(?:\.\d+)?", words)
            assert set(figures) <= measured, f"{words}: not in {target}"
            checked += len(figures)
    assert checked > 10


def test_the_peers_figures_were_measured_too() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## Speed and memory")[2].partition("\n## ")[0]
    measured = (REPOSITORY / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    figures = {
        figure
        for line in text.splitlines()
        if line.startswith("|")
        for figure in re.findall(r"\d+\.\d+|\d{3,}(?= s| MB)", line.rstrip("| ").rpartition("|")[2])
    }
    assert len(figures) >= 5
    assert {figure for figure in figures if figure not in measured} == set()
