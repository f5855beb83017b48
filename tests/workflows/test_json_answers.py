"""`--json`: whoever asks a question as a program gets one document on standard output, and nothing else there."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from fran.cli import VERBS, main
from fran.datasources.phantom import make_phantoms
from fran.workflows.terminal import say_json
from fran.workflows.verb_settings import settings_of
from fran.workflows.verbs import Group

QUESTIONS: dict[str, tuple[str, str]] = {
    "check": ("{raw}", "cases"),
    "model ls": ("patch_dim0=32 patch_dim1=32", "0.model"),
    "model show": ("unet patch_dim0=32 patch_dim1=32", "spec.filters"),
    "plan list": ("", "0.plan"),
    "plan show": ("plan2", "keys.spacing.value"),
    "plan diff": ("plan1 plan2", "differences.0.key"),
    "plan explain": ("plan1", ""),
    "labels show": ("", "labels.0.raw"),
    "labels tsl": ("find=kidney", "structures"),
    "project status": ("", "n_cases"),
    "project properties": ("", "recommendation"),
    "project folds": ("", "cases"),
    "project groups": ("", "labels.0.output"),
    "cache ls": ("", "0.files"),
    "cache verify": ("", "damaged"),
    "cache gc": ("", "bytes"),
    "score": ("pred={raw}/lms gt={raw} output={out} metrics=[dice] samples=10 pictures=0", "scores.summary.0.name"),
    "doctor": ("", "findings.0.what"),
}
ELSEWHERE = {"hpc ls", "hpc pull", "cv show", "sweep show"}
"""Verbs that need a cluster or a training; their tests are those of the verbs."""
WITHOUT_PROJECT = ("check", "labels tsl", "score", "doctor")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with project `organs`, preprocessed; gives its raw folder."""
    base = tmp_path_factory.mktemp("json")
    folder = make_phantoms(base / "raw" / "organs", 3, 0, name="organs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAN_HOME", str(base / "home"))
        for line in (f"init -t organs -i {folder}", "preprocess project=organs plan=plan1 spacing=[6,6,9]"):
            patch.setattr(sys, "argv", ["fran", *line.split()])
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code == 0
    return folder


def test_every_verb_that_answers_as_json_is_tried_here() -> None:
    listed = {
        f"{n} {w}".strip(): v
        for n, e in VERBS.items()
        for w, v in (e.choices if isinstance(e, Group) else {"": e}).items()
    }
    answering = {name for name, verb in listed.items() if any(key.name == "json" for key in settings_of(verb).keys)}
    assert answering == {*QUESTIONS, *ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("verb", QUESTIONS)
def test_the_answer_is_one_document(
    verb: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAN_HOME", str(raw.parents[1] / "home"))
    arguments, path = QUESTIONS[verb]
    project = [] if verb in WITHOUT_PROJECT else ["project=organs"]
    given = arguments.format(raw=raw, out=tmp_path).split()
    monkeypatch.setattr(sys, "argv", ["fran", *verb.split(), *given, *project, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code in ((0, 1) if verb == "doctor" else (0,)), said.err
    found: Any = json.loads(said.out)
    for key in filter(None, path.split(".")):
        found = found[int(key)] if isinstance(found, list) else found[key]


def test_what_is_not_a_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"dice": math.nan, "hd95": [math.inf, 1.5], 3: (Path("/x"), None), "name": "Niere µ"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"dice": None, "hd95": [None, 1.5], "3": ["/x", None], "name": "Niere µ"}
    assert "µ" in said and said.count("\n") > 5 and said.endswith("}\n")
