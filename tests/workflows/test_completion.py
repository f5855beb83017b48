"""Completion, as real shells do it: text and a Tab typed at a terminal, and the line that comes of it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fran.cli import VERBS
from fran.workflows.completion import SHELLS, answer, complete, main

ROOT = Path(__file__).resolve().parents[2]
START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
}
SETUP = {
    "bash": "PS1='> '; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'",
    "zsh": "PROMPT='> '; unsetopt beep prompt_sp; unset zle_bracketed_paste; autoload -U compinit; compinit -D -u",
}
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r|\x07")


def offered(line: str) -> list[str]:
    return [line.partition("\t")[0] for line in answer(VERBS, "fish", line)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a project, a plan in a folder of its own, and two runs."""
    monkeypatch.setenv("FRAN_HOME", str(tmp_path))
    monkeypatch.delenv("FRAN_CONF", raising=False)
    monkeypatch.delenv("FRAN_COMMON_PATHS", raising=False)
    for name in ("project/kits.yaml", "plan/liver/fine.yaml", "datasource/lits.yaml"):
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).touch()
    for run in ("plan1-dynunet-f0-1", "plan1-dynunet-f1-1", "other"):
        (tmp_path / "cold" / "checkpoints" / "kits" / run).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fran tra", ["train"]),
        ("fran plan sh", ["show"]),
        ("fran help pla", ["plan"]),
        ("fran help plan d", ["diff"]),
        ("fran plan show liv", ["liver/fine"]),
        ("fran plan diff plan1 plan3", ["plan3"]),
        ("fran model show resunet_", ["resunet_s"]),
        ("fran train project=k", ["project=kits"]),
        ("fran train plan=liv", ["plan=liver/fine"]),
        ("fran train trainer/opt", []),
        ("fran train trainer.opt", ["trainer.optimiser."]),
        ("fran train trainer.optimiser.l", ["trainer.optimiser.lr="]),
        ("fran train model.max_l", ["model.max_levels="]),
        ("fran train find_batch_size=t", ["find_batch_size=true"]),
        ("fran train fold=0 fol", []),
        ("fran cv project=kits --dr", ["--dry-run"]),
        ("fran infer project=kits 'runs=[o", ["runs=[other"]),
        ("fran infer project=kits runs=[other,plan1-dynunet-f1", ["runs=[other,plan1-dynunet-f1-1"]),
        ("fran train project=kits resume=plan1-dynunet-f0", ["resume=plan1-dynunet-f0-1"]),
        ("fran init -t k", ["kits"]),
        ("fran init datasource=l", ["datasource=lits"]),
        ("fran completion z", ["zsh"]),
        ("fran nothing x", []),
    ],
)
def test_what_is_offered(line: str, expected: list[str], home: Path) -> None:
    assert offered(line) == expected


def test_every_verb_offers_something_that_its_configuration_takes(home: Path) -> None:
    for name in ("train", "infer", "score", "cv show", "cache gc", "init", "project folds"):
        assert {"project=", "pred="}.intersection(offered(f"fran {name} ")), name


def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw data").mkdir()
    (tmp_path / "raw.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert offered("fran infer input=ra") == ["input=raw data/", "input=raw.txt"]
    assert offered("fran check r")[:2] == ["raw data/", "raw.txt"]
    assert offered("fran init -t kits -i r") == ["raw data/", "raw.txt"]
    assert next(answer(VERBS, "bash", "fran infer input=ra", "ra")).startswith("raw\\ data/")
    assert next(answer(VERBS, "bash", "fran infer 'input=ra", "input=ra")).startswith("input=raw data/")
    assert list(complete(VERBS, ["infer", "input=nowhere/x"])) == []


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(VERBS, ["bahs"])
    assert ended.value.code == 2 and "did you mean 'bash'" in capsys.readouterr().err


def test_nothing_heavy_is_imported(home: Path) -> None:
    code = (
        "import sys; sys.argv=['fran','completion','--line','bash','fran train project=kits run','run'];"
        "from fran.cli import main; main(); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("torch", "hydra", "omegaconf", "numpy", "mlflow", "rich"):
        assert f"'{heavy}'" not in done.stdout.splitlines()[-1]


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `fran` that completes, and otherwise writes the words that it is given to a file."""
    file = home / "bin" / "fran"
    file.parent.mkdir()
    file.write_text(
        f"""#!/bin/sh
[ "$1" = completion ] && PYTHONPATH={ROOT} exec {sys.executable} -m fran.cli "$@"
printf '%s\\n' "$@" > {home}/given.part && mv {home}/given.part {home}/given
"""
    )
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    return file


@pytest.fixture(params=list(START))
def terminal(request: pytest.FixtureRequest, command: Path) -> Iterator[Terminal]:
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"no {request.param} here")
    with Terminal(shell, request.param) as opened:
        yield opened


class Terminal:
    """An interactive shell at a pseudo-terminal."""

    def __init__(self, shell: str, kind: str) -> None:
        self.kind = kind
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", COLUMNS="200", LINES="50", HISTFILE="/dev/null")
            os.execv(shell, [shell, *START[kind]])
        self.type(f'{SETUP[kind]}; eval "$(fran completion {kind})"; cd "$FRAN_HOME"; echo read""y\n')
        self.shown(lambda seen: re.search(r"ready\n.*> $", seen, re.DOTALL) is not None)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def shown(self, until: Callable[[str], bool], seconds: float = 60.0) -> str:
        """What the terminal shows until that is enough."""
        seen, deadline = "", time.monotonic() + seconds
        while not until(seen):
            assert time.monotonic() < deadline, f"the terminal shows {seen!r}"
            if select.select([self.descriptor], [], [], 0.2)[0]:
                seen += ANSI.sub("", os.read(self.descriptor, 4096).decode(errors="replace"))
        return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("fran scor\tx", ["score", "x"]),
        ("fran plan exp\tx", ["plan", "explain", "x"]),
        ("fran train project=k\tx", ["train", "project=kits", "x"]),
        ("fran train trainer.optimiser.l\t1", ["train", "trainer.optimiser.lr=1"]),
        ("fran train plan=liver\tx", ["train", "plan=liver/fine", "x"]),
        ("fran infer project=kits runs=[oth\t]", ["infer", "project=kits", "runs=[other]"]),
        ("fran infer project=kits 'runs=[oth\t]'", ["infer", "project=kits", "runs=[other]"]),
        ("fran infer input=ra\tx", ["infer", "input=raw data/x"]),
    ],
)
def test_a_tab_at_a_terminal(terminal: Terminal, typed: str, given: list[str], home: Path) -> None:
    if terminal.kind == "zsh" and "=[" in typed and "'" not in typed:
        pytest.skip("zsh itself refuses brackets that are not quoted")
    (home / "raw data").mkdir()
    terminal.type(f"{typed}\n")
    terminal.shown(lambda _: (home / "given").exists())
    assert (home / "given").read_text().splitlines() == given


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fran scor", "score"),
        ("fran train project=k", "project=kits"),
        ("fran infer project=kits runs=[oth", "runs=[other"),
    ],
)
def test_fish(line: str, expected: str, command: Path) -> None:
    script = f'fran completion fish | source; complete -C "{line}"'
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    assert [row.partition("\t")[0] for row in done.stdout.splitlines()] == [expected]


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
def test_the_script_is_one(shell: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SHELLS[shell])
    done = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
