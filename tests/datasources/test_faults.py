"""Every fault that can be made on the spot gets its verdict, in words, and leaves the good cases alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.verdicts import Quality, as_text

from .broken_table import MADE, made_rows, stored_rows
from .faults import FAULTS, good_folder

TOGETHER = ("swapped_folders",)


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    folder = good_folder(tmp_path / "raw")
    fault.make(folder)
    source = Datasource(folder, **{"modality": "CT", **(fault.settings or {})})
    with fault.around(folder):
        report = source.scan(tmp_path / "store")
    text = as_text(Quality.of([report]), "raw")
    verdicts = report.verdicts
    worst = max(verdicts.values(), key=("ok", "note", "warning", "error").index)
    assert worst == fault.verdict, text
    for words in fault.words:
        assert words in text
    assert "Traceback" not in text and "bug of fran" not in text
    kept = {r.case_id for r in report.records}
    assert kept == set() if name in TOGETHER else {"raw_1", "raw_2"} <= kept
    assert len(kept) == 3 or fault.verdict == "error"
    again = source.scan(tmp_path / "again")
    if name != "forbidden":
        assert again.problems == report.problems


def test_the_page_says_what_fran_says() -> None:
    assert list(made_rows()) == stored_rows(MADE)
