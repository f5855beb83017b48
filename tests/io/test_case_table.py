from __future__ import annotations

import math
from pathlib import Path

import pytest

from fran.errors import StoreError
from fran.io.case_table import CaseScore, read_cases, write_cases


def test_what_is_not_defined_stays_undefined(tmp_path: Path) -> None:
    rows = [CaseScore("kits_1", "left kidney", 0.912345678, 0.5, 100.0, 110.5), CaseScore("kits_2", "tumour", math.nan)]
    write_cases(tmp_path / "cases.csv", rows)
    first, second = read_cases(tmp_path / "cases.csv")
    assert first == CaseScore("kits_1", "left kidney", 0.912346, 0.5, 100.0, 110.5)
    assert (second.case, second.label) == ("kits_2", "tumour")
    assert all(map(math.isnan, (second.dice, second.nsd, second.pred_mm3, second.ref_mm3)))
    assert (tmp_path / "cases.csv").read_text().splitlines()[0] == "case,label,dice,nsd,pred_mm3,ref_mm3"


def test_further_columns_are_passed_over_and_missing_ones_undefined(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("label,case,hd95,dice\nkidney,kits_1,3.5,0.25\n")
    (row,) = read_cases(tmp_path / "cases.csv")
    assert (row.case, row.label, row.dice) == ("kits_1", "kidney", 0.25)
    assert math.isnan(row.nsd)


@pytest.mark.parametrize(
    ("text", "words"),
    [("case,label\na,b\n", "none called dice"), ("case,label,dice\na,b,much\n", r"cases\.csv:2: .*'much'")],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(StoreError, match=words):
        read_cases(tmp_path / "cases.csv")
    with pytest.raises(StoreError, match="found none"):
        read_cases(tmp_path / "nowhere.csv")
