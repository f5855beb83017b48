"""Every command and setting of the page for those who come from nnU-Net is one that fran knows."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from fran.cli import find
from fran.workflows.composition import composed
from fran.workflows.schema import register
from fran.workflows.verbs import Verb

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from_nnunet.md"
TEXT = PAGE.read_text()
SPANS = [
    s
    for line in TEXT.splitlines()
    for s in ([line.strip()] if line.startswith("    ") else re.findall("`([^`]+)`", line))
]
COMMANDS = sorted(
    {s.partition("  #")[0].strip() for s in SPANS if s.startswith("fran ") and "…" not in s and "<" not in s}
)
SETTINGS = sorted(
    {
        s
        for s in SPANS
        if re.match(r"'?(trainer|model|augmentation|preset|spacing|patch_dim\d|classes|find_batch)[\w./]*=", s)
        and "…" not in s
    }
)


@pytest.fixture
def projects(fran_home: Path) -> None:
    for group, name in (("project", "liver"), ("project", "kits")):
        path = fran_home / "conf" / group / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"title: {name}\n")
    plan = "# @package _global_\ndefaults:\n  - plan1\n  - _self_\nplan_name: fine\n"
    (fran_home / "conf" / "plan").mkdir()
    (fran_home / "conf" / "plan" / "fine.yaml").write_text(plan)


def overrides_of(command: str) -> tuple[Verb, list[str]]:
    _, verb, rest = find(shlex.split(command)[1:])
    assert isinstance(verb, Verb), command
    translate = getattr(import_module(f"fran.workflows.{verb.module}"), "translate", list)
    if translate is list and verb.words:  # a plan or a network may stand by itself
        rest = [word for word in rest if "=" in word]
    return verb, [re.sub(r"^([\w./]+=[^,\[]+),.*", r"\1", o) for o in translate(rest) if o != "-m"]


@pytest.mark.usefixtures("projects")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    verb, overrides = overrides_of(command)
    register()
    assert composed(verb.primary, overrides) is not None


@pytest.mark.usefixtures("projects")
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(setting: str) -> None:
    register()
    assert composed("train", shlex.split(setting)) is not None


def test_every_command_of_nnunet_has_its_row() -> None:
    named = set(re.findall(r"nnUNetv2_\w+", TEXT))
    assert {
        f"nnUNetv2_{verb}"
        for verb in ("plan_and_preprocess", "train", "predict", "find_best_configuration", "ensemble")
    } < named
    assert len(named) == 21
