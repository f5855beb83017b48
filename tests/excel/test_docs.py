"""docs/from_excel.md says what the importer does."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from fran.excel.docs import tables, with_tables
from fran.excel.fran_sheet import known_keys
from fran.excel.parameter_keys import SHEETS, Rule
from fran.excel.plan_keys import NOT_KEYS, PLAN_KEYS, REFERENCES
from fran.plans.schema import Plan
from fran.tuning.domains import KINDS
from tests.excel.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "from_excel.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_mapping() -> None:
    assert with_tables(PAGE) == PAGE, "run: python -m fran.excel.docs docs/from_excel.md"
    with pytest.raises(ValueError, match="expected the lines"):
        with_tables("# From Excel")


def test_every_old_variable_has_its_row() -> None:
    text = tables()
    for old in (*PLAN_KEYS, *NOT_KEYS, *(name for entries in SHEETS.values() for name in entries)):
        assert f"| `{old}` |" in text


def test_every_new_key_exists() -> None:
    known = known_keys()
    rules = [rule for entries in SHEETS.values() for rule in entries.values() if isinstance(rule, Rule)]
    keys = {key for rule in rules for key in (*rule.keys, rule.p_key) if key}
    keys |= {rule.key for rule in PLAN_KEYS.values()}
    assert {key for key in keys if key not in known and not key.startswith("model.")} == set()


def test_every_key_of_a_plan_can_be_imported() -> None:
    """A new key of the schema needs its row here, or exported tables would lose it."""
    assert {rule.key for rule in PLAN_KEYS.values()} | {*REFERENCES, "plan_name"} == {f.name for f in fields(Plan)}


def test_every_domain_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", PAGE.partition("| domain | draws |")[2].partition("\n\n")[0]))
    assert set(KINDS) <= described
