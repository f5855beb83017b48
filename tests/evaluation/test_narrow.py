"""Tables of scores in narrow terminals: whatever the width, every number and every part of a name is in one piece."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from fran.evaluation.intervals import Bootstrap
from fran.evaluation.measures import Measures, Score, absent, as_score
from fran.evaluation.narrow import fitting_table, parted
from fran.evaluation.paired import compare
from fran.evaluation.report import show_paired

LABELS = {1: "pulmonary_artery_left", 2: "small_bowel_and_duodenum"}
COLUMNS = ("case", "name", "Dice", "volume")
ROWS = [("kits_00004_20240512", "small_bowel_and_duodenum", "0.525\n0.100–0.900", "1,234,567 mm³")]


def shown(width: int, rows: list[tuple[str, ...]] = ROWS) -> str | None:
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True)
    table = fitting_table("Scores", COLUMNS, rows, console)
    if table is None:
        return None
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize("width", range(52, 130, 6))
def test_nothing_is_cut(width: int) -> None:
    text = shown(width)
    assert text is not None and max(map(len, text.splitlines())) <= width
    assert "0.100–0.900" in text and "1,234,567 mm³" in text
    for word in ("small_", "bowel_", "and_", "duodenum", "kits_", "20240512"):
        assert re.search(rf"\b{word}|_{word}", text), word


def test_a_terminal_without_room_is_told() -> None:
    assert shown(30) is None


def test_names_are_parted_at_their_seams() -> None:
    assert parted("kidney", 3) == "kidney"
    assert parted("volume difference mm³", 17) == "volume difference\nmm³"
    assert parted("a_b_c", 4) == "a_b_\nc"


def _scores(gain: int) -> list[Score]:
    rows = []
    for case in range(8):
        for label, name in LABELS.items():
            made = as_score(f"c{case}", label, name, absent(Measures()), 1.0, Measures().metrics)
            values = {"dice": 0.5 + 0.01 * gain, "hd95_mm": 12345.6 * (gain + 1), "pred_vox": 40, "ref_vox": 50}
            rows.append(replace(made, **values))
    return rows


@pytest.mark.parametrize("width", [80, 110])
def test_comparisons_fit(width: int) -> None:
    columns = ["dice", "nsd", "hd95_mm", "diff_mm3"]
    lines = compare(_scores(3), _scores(0), columns, Bootstrap(samples=50))
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True)
    show_paired(lines, Bootstrap(samples=50), "a", "b", console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "37,036.80 to 37,036.80" in text and "difference" in text


def test_into_a_pipe_every_row_is_one_line() -> None:
    lines = compare(_scores(3), _scores(0), ["dice", "hd95_mm"], Bootstrap(samples=50))
    console = Console(width=40, file=io.StringIO(), record=True)
    show_paired(lines, Bootstrap(samples=50), "a", "b", console)
    title, headings, *rows = console.export_text().splitlines()
    assert title == "a, less b" and headings.startswith("name ") and headings.endswith(" shown")
    assert [row.partition("  ")[0] for row in rows[: len(lines)]] == [line.label for line in lines]
    assert sum("37,036.80 (37,036.80 to 37,036.80)" in row for row in rows) == len(lines) // 2
    assert all(": Dice +" in sentence for sentence in rows[len(lines) + 1 :])
