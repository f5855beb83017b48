"""`fran plan …` and ``--dry-run``: what they say is true, and they change nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from fran.cli import VERBS, main
from fran.workflows.plan_verbs import named
from fran.workflows.verb_settings import settings_of
from fran.workflows.verbs import Group

from ..projects.raw_cases import write_cases
from .plan_folder import line, write_plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home with project `nodes` of two datasources and seven cases."""
    from fran.workflows.api import Project

    base = tmp_path_factory.mktemp("nodes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAN_HOME", str(base / "home"))
        project = Project("nodes")
        project.create()
        for name, n in (("nodesthick", 4), ("nodes", 3)):
            project.add_data({"ds": name, "folder": write_cases(base / name, name, n), "alias": None})
        project.maybe_store_projectwide_properties()
    return base / "home"


class Typed:
    """Runs commands in this process; knows what they said."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._patch, self._capsys = home, patch, capsys
        patch.setenv("FRAN_HOME", str(home))

    def __call__(self, *arguments: str, status: int = 0) -> str:
        self._patch.setattr(sys, "argv", ["fran", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        assert ended.value.code == status, said.err
        return said.out if status == 0 else said.err

    def json(self, *arguments: str) -> object:
        return json.loads(self(*arguments, "json=true"))


@pytest.fixture
def fran(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """`fran` on a copy of the project's home."""
    home = tmp_path / "home"
    shutil.copytree(made, home, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return Typed(home, monkeypatch, capsys)


def contents(home: Path) -> dict[str, int]:
    return {
        str(p.relative_to(home)): p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file() and "-shm" not in p.name
    }


def test_list_has_every_plan_and_how_far_its_data_are(fran: Typed) -> None:
    write_plan(fran.home, "mine", "plan1", source_plan="plan1", mode="lbd", datasources=["nodes"])
    (fran.home / "conf" / "plan" / "broken.yaml").write_text("# @package _global_\nplan_name: other\n")
    fran("preprocess", "project=nodes", "plan=plan1", "preprocess.num_processes=1")
    entries = {entry["plan"]: entry for entry in fran.json("plan", "list", "project=nodes")}  # type: ignore[attr-defined]
    assert {"mine", "nodes", "plan1", "plan2", "plan3", "broken"} == set(entries)
    assert entries["plan1"]["preprocessed"] == "7 of 7"
    assert entries["plan2"]["preprocessed"] == "0 of 7"
    assert entries["mine"]["preprocessed"] == "0 of 3"
    assert entries["mine"]["parent"] == ["plan1"]
    assert "fran plan show broken" in entries["broken"]["error"]
    table = fran("plan", "list", "project=nodes").splitlines()
    assert table[1].split() == [
        "plan",
        "mode",
        "spacing",
        "mm",
        "patch",
        "parent",
        "datasources",
        "preprocessed",
        "file",
    ]
    assert any(row.split()[:2] == ["nodes", "lbd"] and "128 x 128 x 96" in row for row in table)


def test_show_says_where_each_value_is_stated(fran: Typed) -> None:
    path = write_plan(fran.home, "mine", "plan2", expand_by=20)
    shown = fran.json("plan", "show", "mine", "spacing=[1,1,1]", "project=nodes")
    keys = shown["keys"]  # type: ignore[index]
    assert keys["expand_by"] == {"value": 20.0, "origin": line(path, "expand_by")}
    assert keys["spacing"] == {"value": [1.0, 1.0, 1.0], "origin": "command line: spacing=[1,1,1]"}
    assert keys["patch_dim0"]["origin"].endswith("plan2.yaml:9")
    assert keys["mode"]["origin"].endswith("plan1.yaml:5")
    assert keys["vip_label"] == {"value": None, "origin": "default"}
    text = fran("plan", "show", "mine", "patch_overlap=2", "project=nodes")
    assert "by default: " in text
    assert "patch_overlap = 2.0" in text, "what cannot work is said below the table"


def test_diff_names_values_and_stages(fran: Typed) -> None:
    found = fran.json("plan", "diff", "plan1", "plan2", "project=nodes")
    differing = {row["key"]: (row["plan1"], row["plan2"]) for row in found["differences"]}  # type: ignore[index]
    assert differing["spacing"] == ("[1.5, 1.5, 3.0]", "[0.8, 0.8, 1.5]")
    assert set(differing) == {"spacing", "patch_dim0", "patch_dim1"}
    assert len(found["stages"][0]["todo"]) == 7  # type: ignore[index]
    text = fran("plan", "diff", "plan1", "patch_dim0=96", "project=nodes")
    assert "command line: patch_dim0=96" in text
    assert "as of plan1" in text, "the patch changes nothing that mode source makes"
    assert "two plans, or one and settings" in fran("plan", "diff", "plan1", "project=nodes", status=2)


def test_explain_tells_what_the_stages_really_take(fran: Typed) -> None:
    before = fran.json("plan", "explain", "plan1", "project=nodes")["stages"][0]  # type: ignore[index]
    assert before["ready"] == 0
    assert len(before["todo"]) == 7
    fran("preprocess", "project=nodes", "plan=plan1", "preprocess.num_processes=1")
    made = sum(p.stat().st_size for p in Path(before["folder"]).glob("*.h5"))
    assert made == pytest.approx(before["todo_bytes"], rel=0.2)
    after = fran.json("plan", "explain", "plan1", "project=nodes")["stages"][0]  # type: ignore[index]
    assert (after["ready"], after["todo"], after["key"]) == (7, [], before["key"])
    text = fran("plan", "explain", "nodes", "project=nodes")
    assert "nodes (lbd)" in text
    assert "spacing_mm 0.8x0.8x1.5" in text


def test_every_stage_of_a_chain_is_made_and_then_there(fran: Typed) -> None:
    write_plan(
        fran.home, "crop", "plan1", source_plan="plan1", mode="lbd", patch_dim0=4, patch_dim1=3, datasources=["nodes"]
    )
    write_plan(fran.home, "cut", "crop", source_plan="crop", mode="pbd", patch_overlap=0.5)
    before = fran.json("plan", "explain", "cut", "project=nodes")
    assert before["chain"] == ["plan1", "crop", "cut"]  # type: ignore[index]
    assert [s["stage"] for s in before["stages"]] == ["source", "lbd", "pbd"]  # type: ignore[index]
    assert [len(s["todo"]) for s in before["stages"]] == [3, 3, 3]  # type: ignore[index]
    fran("preprocess", "project=nodes", "plan=crop", "preprocess.num_processes=1")
    after = fran.json("plan", "explain", "cut", "project=nodes")["stages"]  # type: ignore[index]
    assert [(s["ready"], len(s["todo"])) for s in after] == [(3, 0), (3, 0), (0, 3)]
    assert [s["key"] for s in after] == [s["key"] for s in before["stages"]]  # type: ignore[index]
    wider = fran.json("plan", "diff", "crop", "expand_by=9", "project=nodes")["stages"]  # type: ignore[index]
    assert [len(s["todo"]) for s in wider] == [0, 3], "another margin leaves the fixed spacing alone"


def test_what_another_folder_holds_is_linked_and_not_counted_as_work(fran: Typed) -> None:
    fran("preprocess", "project=nodes", "plan=plan1", "preprocess.num_processes=1")
    other = ("project=nodes", "remapping_source={nodesthick: {1: 4}}")
    stage = fran.json("plan", "explain", "plan1", *other)["stages"][0]  # type: ignore[index]
    assert (stage["ready"], stage["linkable"], len(stage["todo"])) == (0, 3, 4)
    assert "0 of 7, 3 to link" in " ".join(fran("plan", "explain", "plan1", *other).split())
    fran("preprocess", "plan=plan1", *other, "preprocess.num_processes=1")
    stage = fran.json("plan", "explain", "plan1", *other)["stages"][0]  # type: ignore[index]
    assert (stage["ready"], stage["linkable"], stage["todo"]) == (7, 0, [])


def test_a_plan_is_explained_without_a_project_too(fran: Typed) -> None:
    assert "has not been made yet" in fran("plan", "explain", "plan2", "project=demo")
    assert "has not been made yet" in fran("plan", "list", "project=demo")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(fran: Typed) -> None:
    before = contents(fran.home)
    said = fran("preprocess", "--dry-run", "project=nodes", "plan=plan2")
    assert "to make: 7 case files" in said
    said = fran("train", "project=nodes", "preset=cpu", "--dry-run", "fold=1", "patch_dim0=32", "patch_dim1=16")
    assert "run plan1-dynunet-f1-1: " in said
    assert "M parameters, patch [32, 32, 16]" in said
    assert "optimiser: AdamW, learning rate 0.002, cosine schedule; loss: Dice + cross-entropy\n" in said
    assert "nothing was done" in said
    assert contents(fran.home) == before
    assert not [p for p in Path.cwd().iterdir() if p.name != "home"]


def test_every_verb_that_offers_a_dry_run_does_nothing_in_it(fran: Typed) -> None:
    offering = [
        f"{name} {word}".strip()
        for name, entry in VERBS.items()
        for word, verb in (entry.choices.items() if isinstance(entry, Group) else [("", entry)])
        if any(key.name == "dry_run" for key in settings_of(verb).keys)
    ]
    assert offering == ["preprocess", "train", "cv"]
    before = contents(fran.home)
    for name in offering:
        small = ["project=nodes", "patch_dim0=32", "patch_dim1=16", *(["preset=cpu"] * (name != "preprocess"))]
        assert "nothing was done; leave --dry-run away" in fran(name, "--dry-run", *small), name
        assert contents(fran.home) == before, name


def test_names_may_stand_without_their_key() -> None:
    assert named(["a", "b"], ["plan", "against"]) == ["plan=a", "against=b"]
    assert named(["plan=a", "b"], ["plan", "against"]) == ["plan=a", "against=b"]
    assert named(["--config-dir", "my", "a"], ["plan"]) == ["--config-dir", "my", "plan=a"]


def test_flags_may_stand_between_settings(fran: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAN_CONF", "")
    (tmp_path / "mine" / "plan").mkdir(parents=True)
    own = tmp_path / "mine" / "plan" / "own.yaml"
    own.write_text("# @package _global_\ndefaults: [plan1, _self_]\nplan_name: own\nexpand_by: 7\n")
    shown = fran("plan", "show", "own", "--config-dir", str(tmp_path / "mine"), "patch_dim0=96")
    assert "96" in shown and str(own) in shown


def test_mistakes_on_the_line(fran: Typed) -> None:
    assert "one word more" in fran("plan", "show", "plan1", "plan2", status=2)
    assert "did you mean 'plan1'" in fran("plan", "show", "plam1", status=2)
    assert "did you mean 'show'" in fran("plan", "shwo", status=2)
