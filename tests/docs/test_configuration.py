"""docs/configuration.md: its table of groups is what conf/ holds."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"
PAGE = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
# groups whose files are all a user's own
OWN = {"datasource", "space"}


def rows() -> dict[str, str]:
    """What the table says is shipped, by group."""
    table = PAGE.partition("| group | says | shipped |")[2].partition("\n\n")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {group.strip("`"): shipped for group, _, shipped in cells}


def shipped() -> dict[str, set[str]]:
    """Options by group; those of Hydra's own groups are explained where they are used."""
    found: dict[str, set[str]] = {}
    for file in CONF.rglob("*.yaml"):
        group = file.parent.relative_to(CONF).as_posix()
        if file.parent != CONF and not group.startswith("hydra") and not file.stem.startswith("_"):
            found.setdefault(group, set()).add(file.stem)
    return found


def test_every_group_has_a_row() -> None:
    assert set(rows()) == {*shipped(), *OWN}


def test_a_row_lists_every_option_that_is_shipped() -> None:
    said = rows()
    for group, options in shipped().items():
        assert set(re.findall(r"`(\w+)`", said[group])) == options, group
