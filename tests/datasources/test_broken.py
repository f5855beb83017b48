"""A collection of folders with one defect each: kind of outcome and what the message must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import problems_table

from .broken_table import REAL, real_rows, stored_rows
from .scenarios import DECLARED, SCENARIOS

pytestmark = pytest.mark.realdata

WITHOUT_GOOD = {"emptydataset", "nolmsdir", "lblallempty"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, shared_data: Path, tmp_path: Path) -> None:
    _, kind, parts = SCENARIOS[scenario]
    source = Datasource(shared_data / "broken" / scenario, labels=DECLARED.get(scenario), modality="MR")
    report = source.scan(tmp_path / "store")
    table = problems_table(report.problems)
    kept = [r.case_id for r in report.records]
    if kind in ("error", "error-or-skip"):
        assert report.errors, table
        assert kept == ([] if scenario in WITHOUT_GOOD else [f"{scenario}_good1"])
    else:
        assert report.errors == [], table
        assert len(kept) == 2
    if kind == "warn":
        assert any(p.severity == "warning" for p in report.problems)
    if kind == "accept":
        assert [p for p in report.problems if p.severity != "note"] == []
    for part in parts:
        assert part in table
    assert "Traceback" not in table
    assert "report this as a bug" not in table


def test_one_problem_a_defect(shared_data: Path, tmp_path: Path) -> None:
    report = Datasource(shared_data / "broken" / "badnames").scan(tmp_path / "store")
    assert len(report.errors) == 10


def test_scaling_is_applied(shared_data: Path, tmp_path: Path) -> None:
    report = Datasource(shared_data / "broken" / "imgscaled").scan(tmp_path / "store")
    image = report.records[0].facts.image
    assert (image.min, image.max) == (-1023.0, -897.5)


def test_big_labels_where_declared(shared_data: Path, tmp_path: Path) -> None:
    declared = {1: "a", 2: "b", 300: "c", 1000: "d"}
    report = Datasource(shared_data / "broken" / "lblbig", labels=declared).scan(tmp_path / "store")
    assert report.errors == []
    assert set(report.records[0].facts.labels) == {300, 1000}


def test_the_page_says_what_fran_says(shared_data: Path) -> None:
    assert list(real_rows(shared_data / "broken")) == stored_rows(REAL)
