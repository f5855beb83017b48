"""Every shipped configuration composes, and mistakes are said in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from fran.workflows import composition
from fran.workflows.init import translate
from fran.workflows.locations import conf_dir
from fran.workflows.overrides import overrides_of
from fran.workflows.schema import register
from fran.workflows.terminal import spoken

GROUPS = {
    "train": ("plan", "model", "trainer", "augmentation", "tracking", "paths", "preset"),
    "preprocess": ("plan",),
}
OPTIONS = [
    (verb, group, file.stem)
    for verb, groups in GROUPS.items()
    for group in groups
    for file in sorted((conf_dir() / group).glob("*.yaml"))
]
VERBS = sorted(file.stem for file in conf_dir().glob("*.yaml") if file.stem != "common")


def composed(verb: str, *overrides: str) -> dict:  # type: ignore[type-arg]
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose(verb, list(overrides)), resolve=True)  # type: ignore[return-value]


@pytest.mark.usefixtures("fran_home")
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes(verb: str) -> None:
    assert composed(verb)


@pytest.mark.usefixtures("fran_home")
@pytest.mark.parametrize(("verb", "group", "option"), OPTIONS)
def test_every_option_composes(verb: str, group: str, option: str) -> None:
    assert composed(verb, f"{group}={option}")


def leaves(node: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def another(value: Any) -> Any:
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else [*value, *value[-1:]]


@pytest.mark.usefixtures("fran_home")
@pytest.mark.parametrize("verb", ["train", "preprocess", "infer", "score"])
def test_every_key_can_be_changed_on_the_command_line(verb: str) -> None:
    changed = {key: another(value) for key, value in leaves(composed(verb)) if value not in (None, "???")}
    assert len(changed) > 5
    found = dict(leaves(composed(verb, *overrides_of(changed))))
    assert {key: found[key] for key in changed} == changed


@pytest.mark.parametrize("file", sorted((conf_dir() / "plan").glob("*.yaml")), ids=lambda f: f.stem)
def test_plan_files_keep_their_form(file: Path) -> None:
    text = file.read_text()
    content = yaml.safe_load(text)
    assert text.startswith("# @package _global_\n")
    assert content["plan_name"] == file.stem
    assert content.get("defaults", ["_self_"])[-1] == "_self_"


@pytest.mark.usefixtures("fran_home")
def test_what_is_stronger() -> None:
    assert composed("train", "plan=plan2")["patch_dim0"] == 128
    assert composed("train", "plan=plan2", "spacing=[0.8,0.8,2]")["spacing"] == [0.8, 0.8, 2.0]
    demo = composed("train")
    assert demo["trainer"]["max_epochs"] == 8, "the demo's own settings win over the group"
    assert composed("train", "trainer.max_epochs=3")["trainer"]["max_epochs"] == 3


def test_a_users_plan_is_found_and_its_mistake_has_file_and_line(fran, fran_home: Path) -> None:  # type: ignore[no-untyped-def]
    folder = fran_home / "conf" / "plan"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - plan1\n  - _self_\nspacng: [1, 1, 1]\n")
    done = fran("preprocess", "plan=mine")
    assert done.returncode == 2
    assert f"{folder / 'mine.yaml'}:5" in done.stderr


@pytest.mark.usefixtures("fran_home")
def test_mappings_by_label_datasource_and_case_are_given_on_the_command_line() -> None:
    register()
    weights = [f"trainer.{of}_sampling_weights={{{name}: 3}}" for of, name in (("class", "tumour"), ("case", "kits_1"))]
    trainer = OmegaConf.to_container(composition.composed("train", weights).trainer)
    assert trainer["class_sampling_weights"] == {"tumour": 3}  # type: ignore[index,call-overload]
    assert trainer["case_sampling_weights"] == {"kits_1": 3}  # type: ignore[index,call-overload]
    with pytest.raises(HydraException, match=r"trainer\.loss"):
        composition.composed("train", ["trainer.loss={tumour: 3}"])


def test_a_home_folder_that_the_shell_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    given = ["init_from=~/fran/run", "run=~ann/x", "notes=a~/b", "input=~"]
    assert spoken(given) == ["init_from=/home/ann/fran/run", "run=~ann/x", "notes=a~/b", "input=/home/ann"]


def test_init_takes_flags_and_overrides(fran_home: Path) -> None:
    found = translate(["-t", "kits", "-i", "/a/b", "/c d", "strict=true"])
    assert found == ["project=_new", "project.title=kits", "folders=['/a/b','/c d']", "strict=true"]
    assert translate(["project=kits", "datasource=[/a/b]"])[-1] == "folders=['/a/b']"
