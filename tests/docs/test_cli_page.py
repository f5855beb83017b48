"""docs/cli.md: the verbs that it says know a word are those that know it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fran.cli import VERBS
from fran.workflows.verb_settings import settings_of
from fran.workflows.verbs import Group, Verb

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def verbs() -> Iterator[tuple[str, Verb]]:
    for name, verb in VERBS.items():
        if isinstance(verb, Group):
            yield from ((f"{name} {word}", one) for word, one in verb.verbs.items())
            if verb.default:
                yield name, verb.default
        else:
            yield name, verb


def knowing(key: str) -> set[str]:
    found = {name for name, verb in verbs() if key in {one.name for one in settings_of(verb).keys}}
    assert found
    return found


def test_json_is_known_to_the_verbs_that_are_listed() -> None:
    """A verb is listed by its name, or a verb of a group by its own word."""
    listed = set(
        re.findall(r"`([a-z -]+)`", PAGE.partition("`--json` is known to")[2].partition("; what is not a number")[0])
    )
    know = knowing("json")
    assert [name for name in know if name not in listed and name.rpartition(" ")[2] not in listed] == []
    named = {name for name, _ in verbs()}
    own = {word: [name for name in named if name == word or name.endswith(f" {word}")] for word in listed}
    assert {word: names for word, names in own.items() if not names or not set(names) <= know} == {}
