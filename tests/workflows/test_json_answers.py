"""`--json`: whoever asks a question as a program gets one document on standard output, and nothing else there."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fran.cli import VERBS, main
from fran.datasources.phantom import make_phantoms
from fran.io.checkpoint import write_checkpoint
from fran.training.spec import FitResult
from fran.workflows.terminal import say_json
from fran.workflows.train import answer as train_answer
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
    "project ls": ("", "0.project"),
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
WORK = {"init", "add-data", "import-nnunet", "train", "cv", "infer", "export", "export-nnunet", "report"}
"""Verbs that do something and say what; docs/cli.md lists their fields."""
ELSEWHERE = {"hpc ls", "hpc pull", "cv show", "sweep show"}
"""Verbs that need a cluster or a training; their tests are those of the verbs."""
WITHOUT_PROJECT = ("check", "labels tsl", "project ls", "score", "doctor")


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
    assert answering == {*QUESTIONS, *ELSEWHERE, *WORK}


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


def documented(verb: str) -> set[str]:
    """Fields of a verb's answer by docs/cli.md."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.split("| verb | field |")[1].split("\n\n")[0].splitlines()[2:]]
    found: dict[str, set[str]] = {}
    named: list[str] = []
    for verbs, names, *_ in rows:
        named = re.findall("`([^`]+)`", verbs) or named
        for one in named:
            found.setdefault(one, set()).update(re.findall("`([^`]+)`", names))
    assert found.keys() == WORK
    return found[verb]


def main_with(*words: str) -> None:
    """Type a command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fran", *words])
        main()


@pytest.fixture
def answer(
    fran_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict[str, Any], str]]:
    """Types a command of work with --json: its answer, which has the documented fields, and its standard error."""

    def typed(*words: str, status: int = 0) -> tuple[dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", ["fran", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == status, said.err
        found = json.loads(said.out)
        assert found.keys() == documented(words[0])
        return found, said.err

    return typed


def test_projects_as_json(answer: Callable[..., tuple[dict[str, Any], str]], tmp_path: Path) -> None:
    folder = make_phantoms(tmp_path / "raw" / "organs", 3, 0, name="organs")
    spoilt = sorted((folder / "images").iterdir())[1]
    kept = spoilt.read_bytes()
    spoilt.write_bytes(b"no image")
    first, said = answer("init", "-t", "organs", "-i", str(folder), status=1)
    bad = next(p for p in first["verdicts"]["problems"] if p["severity"] == "error")
    assert len(first["added"]) == first["n_cases"] == 2 and bad["case_id"] not in first["added"]
    assert "next: mend them" in said and first["recommended"][0].startswith("spacing=")
    spoilt.write_bytes(kept)
    second, _ = answer("add-data", "project=organs", str(folder))
    assert (second["added"], second["unchanged"]) == ([bad["case_id"]], first["added"])
    assert sum(sum(by_source.values()) for by_source in second["folds"]["cases"].values()) == 3
    page, _ = answer("report", "project=organs", "sheet_cases=0")
    assert page["about"] == "project" and Path(page["page"]).is_file()
    data_set = tmp_path / "nnUNet_raw" / "Dataset501_Organs"
    exported, _ = answer("export-nnunet", "project=organs", f"output={data_set}")
    assert (exported["n_training"], exported["labels"]["1"]) == (3, "kidney") and Path(exported["folder"]) == data_set
    back, _ = answer("import-nnunet", str(data_set), "-t", "again")
    assert sorted(back["added"]) == sorted([*first["added"], bad["case_id"]])


def test_models_as_json(answer: Callable[..., tuple[dict[str, Any], str]], fran_home: Path, tmp_path: Path) -> None:
    meta = {
        "format": 1, "run": "first", "project": "kits", "modality": "CT", "mode": "source",
        "network": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "labels": {"values": [3], "names": {"3": "kidney"}}, "spacing": [1.0, 1.0, 2.0], "patch_size": [4, 4, 4],
        "properties": {"intensity_clip_range": [-500, 900], "mean_fg": 0.0, "std_fg": 1.0},
    }  # fmt: skip
    state = {"network.weight": torch.ones(2, 1, 1, 1, 1), "network.bias": torch.tensor([0.0, -100.5])}
    write_checkpoint(
        {"state_dict": state, "fran": meta}, fran_home / "cold" / "checkpoints" / "kits" / "first" / "best.ckpt"
    )
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name in ("kits_1", "kits_2"):
        array = np.random.default_rng(0).integers(-200, 400, (9, 7, 5)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), images / f"{name}.nii.gz")
    (images / "kits_3.nii.gz").write_bytes(b"no image")
    typed = ("infer", "project.title=kits", "runs=[first]", f"input={images}", f"output={out}", "device=cpu")
    done, said = answer(*typed, status=1)
    assert (done["predicted"], done["skipped"], done["failed"]) == (2, 0, 1)
    assert [Path(case["label_map"]).is_file() for case in done["cases"]] == [True, True]
    assert done["problems"][0]["case_id"] == "kits_3" and "1 of 3 cases failed" in said
    (images / "kits_3.nii.gz").unlink()
    again, said = answer(*typed)
    assert [case["status"] for case in again["cases"]] == ["skipped", "skipped"] and again["seconds_per_case"] is None
    assert "2 finished before" in said
    bundle, _ = answer("export", "project.title=kits", "run=first", f"output={tmp_path / 'kits.zip'}", "formats=[]")
    assert (bundle["runs"], bundle["labels"]) == (["first"], {"3": "kidney"}) and Path(bundle["bundle"]).is_file()


def test_a_training_as_json(tmp_path: Path) -> None:
    run = tmp_path / "plan1-unet-f0-1"
    ended = FitResult(run, run / "last.ckpt", None, math.nan, -1, 3, 300, 12.5, "max_time", {}, {})
    never_validated = train_answer(ended, "kits")
    assert never_validated.keys() == documented("train")
    assert (never_validated["checkpoint"], never_validated["best_epoch"]) == (run / "last.ckpt", None)
    best = train_answer(replace(ended, best=run / "best.ckpt", best_dice=0.8, best_epoch=2), "kits")
    assert (best["checkpoint"], best["best_dice"], best["best_epoch"]) == (run / "best.ckpt", 0.8, 2)


@pytest.mark.slow
def test_a_training_and_a_cross_validation_answer_alone_on_standard_output(
    answer: Callable[..., tuple[dict[str, Any], str]], raw: Path, fran_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(raw.parents[1] / "home", fran_home, symlinks=True, dirs_exist_ok=True)
    small = ["patch_dim0=32", "patch_dim1=16", "spacing=[6,6,9]", "model.filters=4", "trainer.num_workers=0"]
    short = [*small, "tracking=none", "trainer.steps_per_epoch=2", "trainer.max_epochs=1"]
    done, said = answer("train", "project=organs", *short)
    assert (done["epochs"], done["steps"], done["status"]) == (1, 2, "max_epochs") and "next: fran infer" in said
    assert Path(done["checkpoint"]).parent == Path(done["folder"]) and Path(done["folder"]).name == done["run"]
    assert not [o for o in json.loads((Path(done["folder"]) / "overrides.json").read_text()) if "json" in o]
    with pytest.raises(SystemExit):
        main_with("cv", "project=organs", *short, "folds=[0]", "--json")
    assert json.loads(capsys.readouterr().out)["folds"][0]["run"] == done["run"]


def test_what_is_not_a_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"dice": math.nan, "hd95": [math.inf, 1.5], 3: (Path("/x"), None), "name": "Niere µ"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"dice": None, "hd95": [None, 1.5], "3": ["/x", None], "name": "Niere µ"}
    assert "µ" in said and said.count("\n") > 5 and said.endswith("}\n")
