"""Tables on a terminal: what is short stays in one piece, prose goes below its row where there is no room beside it."""

from __future__ import annotations

import io
import re
import sys

import pytest

from fran.workflows.terminal import show_table

PROSE = "twelve words that say what this thing is, so that nobody needs to guess"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "beside"), [(120, True), (60, True), (40, False)])
def test_prose_stands_beside_or_below(monkeypatch: pytest.MonkeyPatch, width: int, *, beside: bool) -> None:
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", screen)
    show_table("Things", ("name", "patch", "about"), [("first", "64 x 64 x 48", PROSE), ("second", "8 x 8 x 8", "")])
    lines = re.sub(r"\x1b\[\d*m", "", screen.getvalue()).splitlines()
    row = next(line for line in lines if "first" in line)
    assert "64 x 64 x 48" in row, "in one piece"
    assert ("twelve" in row) == beside
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()).count("twelve words") == 1
