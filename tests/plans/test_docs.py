from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from fran.plans.docs import keys_table, meanings, with_table
from fran.plans.schema import Plan

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plans.md"


def test_the_page_shows_the_schema_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run: python -m fran.plans.docs docs/plans.md"


def test_every_key_has_a_meaning_a_type_and_a_reader() -> None:
    names = [f.name for f in fields(Plan)]
    assert list(meanings()) == names
    rows = keys_table().splitlines()[2:]
    assert len(rows) == len(names)
    for row in rows:
        _, key, kind, _, default, meaning, reader, acts, _ = (
            cell.strip() for cell in row.replace("\\|", "/").split("|")
        )
        assert key and kind and default and meaning and reader and acts, row


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the lines"):
        with_table("# Plans")
