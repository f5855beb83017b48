"""docs/architecture.md: the files that its table of new things names are there, and so are the names in them."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Where new things go")[2]
ROWS = [line for line in TABLE.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]


def test_files_of_every_row_are_there() -> None:
    paths = {path for row in ROWS for path in re.findall(r"`([\w.]+/[\w./]+)`", row)}
    assert len(paths) > 30
    # x stands for a name of one's own
    assert {path for path in paths if not re.search(r"\bx\.|_x\.", path) and not (REPOSITORY / path).exists()} == set()


def test_names_of_every_row_are_in_the_files_that_it_names() -> None:
    checked = 0
    for row in ROWS:
        rooms = [REPOSITORY / path for path in re.findall(r"`(fran/[\w./]+)`", row)]
        files = {file for room in rooms for file in (room.rglob("*.py") if room.is_dir() else room.parent.glob("*.py"))}
        text = "\n".join(file.read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`([A-Z]\w+|[a-z]+_\w+|recognise|restate|areas)`", row):
            assert not files or re.search(rf"\b{name}\b", text), f"{name}: {row}"
            checked += bool(files)
    assert checked > 12
