"""Tables on a terminal: what is short stays in one piece, prose goes below its row where there is no room beside it."""

from __future__ import annotations

import io
import re
import sys

import pytest

from fran.workflows.terminal import fitted, show_table, wrapped_line

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


@pytest.mark.parametrize("width", [80, 60])
def test_a_path_is_in_one_piece(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    path = "/home/ann/fran/cold/datasets/preprocessed/kits/spc_150_150_300"
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", screen)
    show_table("Stages", ("stage", "cases", "folder"), [("source", "10 of 10", path), ("lbd", "3 of 10", path)])
    assert screen.getvalue().count(path) == 2


def test_several_long_columns_stand_below(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", screen)
    rows = [
        ("plan1", "1.5 x 1.5 x 3", PROSE, "conf/plan/plan1_of_another_place.yaml"),
        ("b", "1 x 1 x 1", "", "c.yaml"),
    ]
    show_table("Plans", ("plan", "spacing mm", "about", "file"), rows)
    said = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    lines = [line.rstrip() for line in said.splitlines()]
    assert max(map(len, lines)) <= 50
    assert lines[1:3] == ["plan   spacing mm", "plan1  1.5 x 1.5 x 3"]
    assert "    file: conf/plan/plan1_of_another_place.yaml" in lines
    assert lines[-2:] == ["b      1 x 1 x 1", "    file: c.yaml"]


SENTENCE = (
    "error: stopped at step 101; go on with: fran train project=demo 'resume=my run' trainer.max_epochs=3 and so on"
)


@pytest.mark.parametrize("width", [36, 50, 80])
def test_sentences_break_between_words_and_commands_stay_whole(width: int) -> None:
    broken = wrapped_line(SENTENCE, width)
    assert max(map(len, broken.splitlines())) <= width
    lines = re.sub(r" \\\n +", " ", broken).splitlines()  # as a shell reads them
    assert " ".join(line.strip() for line in lines) == SENTENCE
    assert sum("fran train project=demo 'resume=my run' trainer.max_epochs=3" in line for line in lines) == 1


def test_where_there_is_no_terminal_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert fitted(SENTENCE, io.StringIO()) == SENTENCE
    assert len(fitted(SENTENCE, Terminal()).splitlines()) > 1
