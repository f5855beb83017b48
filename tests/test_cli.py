from __future__ import annotations

import subprocess
import sys

import pytest

from fran.cli import SECTIONS, VERBS, find, usage
from fran.workflows.verbs import Group


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fran.cli", *arguments], capture_output=True, text=True, check=False)


def all_verbs() -> list[str]:
    return [
        f"{name} {word}".strip() for name, v in VERBS.items() for word in (v.choices if isinstance(v, Group) else [""])
    ]


def test_help_lists_every_verb_once_in_the_order_of_a_day() -> None:
    lines = run("--help").stdout.splitlines()
    listed = [
        line.split()[0] for line in lines if line.startswith("  ") and line[2] not in " " and line.split()[0] != "fran"
    ]
    assert sorted(listed) == sorted(VERBS)
    assert [listed.index(verb) for verb in ("init", "preprocess", "train", "infer", "score")] == sorted(
        listed.index(verb) for verb in ("init", "preprocess", "train", "infer", "score")
    )


def test_no_verb_is_in_two_sections() -> None:
    named = [verb for names in SECTIONS.values() for verb in names]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", all_verbs())
def test_every_verb_has_help_that_fits_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fran.workflows.verb_help import verb_help

    monkeypatch.setenv("COLUMNS", "80")
    _, verb, rest = find([*name.split(), "x=1"])
    assert rest == ["x=1"] and verb is not None and not isinstance(verb, Group)
    lines = verb_help(name, verb).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"fran {name}: {verb.help[:20]}")
    assert verb.example.startswith(f"fran {name}") and f"example: {verb.example}" in lines


def test_the_usage_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert all(len(line) <= 80 or line.startswith("fran ") for line in usage().splitlines())


@pytest.mark.parametrize("arguments", [("train", "--help"), ("help", "train"), ("train", "fold=1", "-h")])
def test_help_of_a_verb(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0 and done.stderr == ""
    assert "plan=plan1" in done.stdout and "resume=null" in done.stdout
    assert done.stdout.index("model=dynunet") < done.stdout.index("fold=0") < done.stdout.index("trainer.…")


def test_help_of_a_group_and_of_its_verb() -> None:
    assert "fran plan diff plan1 plan2" in run("help", "plan").stdout == run("plan", "--help").stdout
    assert "against=null" in run("help", "plan", "diff").stdout


def test_help_of_a_setting() -> None:
    done = run("help", "train", "trainer.optimiser")
    assert done.returncode == 0
    assert "trainer.optimiser.lr" in done.stdout and "max_epochs" not in done.stdout
    assert "acts" not in done.stdout and "voxel spacing" in run("help", "preprocess", "spacing").stdout


def test_help_of_an_unknown_setting_names_the_nearest() -> None:
    done = run("help", "train", "max_epoch")
    assert done.returncode == 2 and done.stdout == ""
    assert "did you mean 'trainer.max_epochs'" in done.stderr


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("channels_last", ["trainer.channels_last"]),
        ("optimiser.lr", ["trainer.optimiser.lr"]),
        ("backend", ["preprocess.backend", "tracking.backend"]),
        ("fold", ["fold=0"]),
    ],
)
def test_help_of_a_setting_by_the_end_of_its_name(asked: str, shown: list[str]) -> None:
    rows = run("help", "train", asked).stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows if row[2] != " "] == shown


def test_help_of_nothing_known_says_where_the_whole_list_is_and_does_not_dump_it() -> None:
    done = run("help", "train", "learning_rate")
    assert done.returncode == 2
    assert "nearest: trainer.optimiser.lr, " in done.stderr
    assert done.stderr.endswith("; all of them: fran help train\n") and len(done.stderr) < 250
    assert run("help", "train", "zzz").stderr.endswith("no setting 'zzz'; all of them: fran help train\n")


@pytest.mark.parametrize(
    ("arguments", "near"), [(("trian",), "train"), (("plan", "shwo"), "show"), (("help", "scor"), "score")]
)
def test_an_unknown_verb_suggests_the_nearest(arguments: tuple[str, ...], near: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert f"did you mean '{near}'" in done.stderr


def test_verbs_with_a_help_of_their_own_show_it() -> None:
    done = run("help", "import-excel")
    assert done.returncode == 0 and "--out" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; sys.argv=['fran', *{arguments}]; from fran.cli import main; main(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    for heavy in ("torch", "hydra", "omegaconf", "numpy", "mlflow", "rich"):
        assert f"'{heavy}'" not in loaded
