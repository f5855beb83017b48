"""The steps from a script: what a call refuses, what it hands to the command's workflow, and the whole way once."""

from __future__ import annotations

import json
import logging
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fran
from fran.errors import CasesFailed, ConfigError, DataError, StoreError
from fran.projects.folders import ProjectFolders
from fran.workflows.calls import plan_overrides, project_choice
from fran.workflows.overrides import overrides_of

from ..projects.raw_cases import write_cases

QUICK: dict[str, Any] = {
    "patch_dim0": 32,
    "patch_dim1": 16,
    "model.filters": 4,
    "trainer.max_epochs": 1,
    "trainer.steps_per_epoch": 2,
    "trainer.num_workers": 0,
    "trainer.max_val_cases": 1,
    "tracking": "none",
}

LINES = st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=12)
NAMES = st.from_regex(re.compile(r"[a-z][\w :,=(){}\[\]\\.-]{0,8}", re.ASCII), fullmatch=True).filter(
    lambda name: name not in ("nan", "inf", "null", "true", "false")
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.integers(0, 99), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_a_value_means_on_a_command_line_what_it_is(value: Any) -> None:
    (text,) = overrides_of({"key": value})
    assert OverridesParser.create().parse_override(text).value() == value


def test_paths_tuples_and_numbers_of_numpy_are_values_too() -> None:
    some = {"input": Path("/data/it's"), "spacing": (np.float32(0.5), 1), "folds": np.arange(2), "a": "1", "b": "ö"}
    parsed = OverridesParser.create().parse_overrides(overrides_of(some))
    assert [o.value() for o in parsed] == ["/data/it's", [0.5, 1], [0, 1], "1", "ö"]


@pytest.mark.parametrize("value", [object(), b"bytes", "two\nlines", {"it's": 1}, {"ö": 1}, {None: 1}, {"null": 1}])
def test_what_no_command_line_can_say_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="key: expected"):
        overrides_of({"key": value})


def project(folder: Path, title: str = "kits") -> fran.Project:
    P = fran.Project(title)
    P.create()
    P.add_data(fran.Datasource(write_cases(folder / title, title, 4)))
    P.maybe_store_projectwide_properties()
    return P


@pytest.mark.usefixtures("fran_home")
def test_a_changed_plan_is_a_plan_and_what_is_changed() -> None:
    P = fran.Project("any")
    plan = fran.ConfigMaker(P).config["plan1"]
    assert plan_overrides(P, plan) == ["plan=plan1"]
    assert plan_overrides(P, plan | {"spacing": (1.5, 1.5, 3.0)}) == ["plan=plan1"]
    changed = plan | {"spacing": [2.0, 2.0, 4.0], "remapping_source": {2: 1}}
    assert plan_overrides("any", changed) == ["plan=plan1", "spacing=[2.0,2.0,4.0]", "remapping_source={2:1}"]
    with pytest.raises(ConfigError, match="unknown key 'spacng'; did you mean 'spacing'"):
        plan_overrides(P, plan | {"spacng": [1.0, 1.0, 1.0]})
    with pytest.raises(ConfigError, match=r"conf/plan/mine\.yaml"):
        plan_overrides(P, plan | {"plan_name": "mine"})


def test_a_project_in_folders_of_its_own_is_found_there(fran_home: Path, tmp_path: Path) -> None:
    assert project_choice(fran.Project("any")) == ["project=_new", "project.title=any"]
    assert project_choice(None) == []
    P = fran.Project("any", ProjectFolders("any", *(tmp_path / name for name in ("projects", "cold", "fast"))))
    own = [text.partition("=")[2].strip("'") for text in project_choice(P)[2:]]
    assert own == [str(tmp_path / name) for name in ("projects", "cold", "fast", "cold/checkpoints")]
    P.create()
    P.add_data(fran.Datasource(write_cases(tmp_path / "any", "any", 4)))
    P.maybe_store_projectwide_properties()
    (made,) = fran.preprocess(P, spacing=[2.0, 2.0, 4.0], patch_dim0=32, patch_dim1=16)
    assert made.done == 4
    assert made.folder.is_relative_to(tmp_path / "cold")
    assert not (fran_home / "cold").exists()


def test_calls_refuse_what_commands_refuse(fran_home: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a project 'nothing'"):
        fran.train("nothing")
    P = project(tmp_path)
    for call, words in (
        (lambda: fran.train(P, "plam1"), "did you mean 'plan1'"),
        (lambda: fran.train(P, spacing=[1, 1], patch_overlap=2.0), "2 settings cannot work"),
        (lambda: fran.train(P, dry_run=True), "for the command line alone"),
        (lambda: fran.train(P, **{"trainer.max_epoch": 1}), "max_epoch"),
        (lambda: fran.train(P, init_from=object()), "init_from: expected text"),
        (lambda: fran.infer(P, [], tmp_path), "the name of one run at least"),
        (lambda: fran.infer(P, "none", tmp_path, format="nift"), "nii"),
        (lambda: fran.score(tmp_path), "expected the folder of references"),
        (lambda: fran.score(tmp_path, tmp_path, json=True), "for the command line alone"),
    ):
        with pytest.raises(ConfigError, match=words) as error:
            call()
        assert "command line:" not in str(error.value)
    with pytest.raises(StoreError, match="no checkpoint of 'frist'"):
        fran.infer(P, "frist", tmp_path / "kits")
    with pytest.raises(DataError):
        fran.score(tmp_path / "nowhere", tmp_path / "kits")
    assert not (fran_home / "cold" / "checkpoints" / "kits" / "plan1-dynunet-f0-1").exists()


def test_scores_are_returned_and_what_is_missing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    references = write_cases(tmp_path / "kits", "kits", 3) / "lms"
    other = write_cases(tmp_path / "other" / "kits", "kits", 2) / "lms"
    with caplog.at_level(logging.INFO):
        found = fran.score(other, references, labels={1: "kidney", 2: "tumour"}, metrics=["dice"], samples=50)
    assert [(row.case_id, row.name, row.dice) for row in found.rows][:3] == [
        ("kits_00", "kidney", 1.0),
        ("kits_00", "tumour", 1.0),
        ("kits_01", "kidney", 1.0),
    ]
    assert [row.in_neither for row in found.rows] == [False, False, False, True]
    assert [line.name for line in found.summary] == ["kidney", "tumour", "all labels"]
    assert found.summary[0].averages["dice"].mean.value == 1.0
    assert sorted(path.name for path in found.files) == ["scores.csv", "scores.html", "scores.json"]
    assert "kits_02" in caplog.text
    assert capsys.readouterr().out == ""
    with pytest.raises(CasesFailed, match="1 of 3 references could not be scored"):
        found.raise_for_errors()
    twice = fran.score(other / "scores.csv", against=other / "scores.csv", samples=50)
    assert twice.rows == ()
    assert {line.column for line in twice.paired} >= {"dice"}
    twice.raise_for_errors()


def test_every_name_loads_without_torch() -> None:
    code = "import sys, fran; print([n for n in fran.__all__ if getattr(fran, n) is None], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def script(raw: Path, predictions: Path) -> str:
    """The page's own example on phantoms with a training of seconds, gone on with, and what came out."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "fran.score(" in b]
    here = {"/data/kits": raw, "/data/new": raw, "/data/predictions": predictions, "/data/references": raw}
    for place, instead in here.items():
        assert place in block
        block = block.replace(place, str(instead))
    block = block.replace("[1.5, 1.5, 3.0]", "[4, 4, 6]").replace('{"trainer.max_epochs": 300}', repr(QUICK))
    lines = block.splitlines()
    (trained,) = [i for i, line in enumerate(lines) if "run = fran.train(" in line]
    lines.insert(trained + 1, "run = fran.train(P, resume=run.run_folder.name, **{'trainer.max_epochs': 2})")
    return "\n".join(["print('begun', flush=True)", *lines, "print(run.epochs, done.n_predicted, len(scores.rows))"])


@pytest.mark.slow
def test_the_pages_example_as_a_script_without_a_guard(fran_home: Path, tmp_path: Path) -> None:
    """A worker that ran the script again would say that it has begun, and train once more."""
    raw = fran.make_phantoms(tmp_path / "kits", 4, name="kits")
    (tmp_path / "study.py").write_text(script(raw, tmp_path / "predictions"))
    done = subprocess.run([sys.executable, "study.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert (said[0], said[-1], len(said)) == ("begun", "2 4 8", 3)
    (run,) = (fran_home / "cold" / "checkpoints" / "kits").iterdir()
    overrides = json.loads((run / "overrides.json").read_text())
    assert overrides[:3] == ["project=kits", "plan=plan1", "spacing=[4,4,6]"]
    assert not [o for o in overrides if o.startswith("paths.")]
    made_with = json.loads((run / "run.json").read_text())["made_with"]
    assert made_with["versions"]["python"] == platform.python_version() and "monai" in made_with["versions"]
    assert made_with["device"] and made_with["precision"] in ("32-true", "bf16-mixed", "16-mixed")
    assert (tmp_path / "predictions" / "scores.html").is_file()
