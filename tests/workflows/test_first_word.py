"""Verbs that load PyTorch first say so at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fran.workflows.first_word import SAID, first_word, say_first

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = "import sys\nfor name in ('torch', 'mlflow', 'hydra', 'omegaconf', 'numpy'): sys.modules[name] = None\n"


@pytest.mark.parametrize("name", SAID)
def test_it_comes_before_anything_heavy_into_a_pipe_too(name: str) -> None:
    code = f"{WITHOUT}sys.argv = ['fran', *'{name}'.split(), 'project=kits']\nfrom fran.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"fran {name}: project kits")
    assert done.stdout == "" and "Traceback" in done.stderr  # the verb itself needs what is blocked


@pytest.mark.parametrize("name", ["train", "infer"])
def test_scripts_say_it_too(name: str) -> None:
    script = str(ROOT / "scripts" / f"{name}.py")
    run = f"sys.argv = [{script!r}, 'project=kits']\nrunpy.run_path({script!r}, run_name='__main__')"
    code = f"{WITHOUT}import runpy\n{run}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"fran {name}: project kits")


@pytest.mark.parametrize("named", ["FRAN_CONF", "--config-dir", "--config-dir="])
def test_the_plan_that_a_preset_chooses(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = tmp_path / "conf" / "preset" / "workbook.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\ndefaults:\n  - override /plan: plan7\n  - override /model: unet\n")
    flags = {"FRAN_CONF": [], "--config-dir": ["--config-dir", str(tmp_path)]}.get(named, [f"{named}{tmp_path}"])
    monkeypatch.setenv("FRAN_CONF", str(tmp_path) if named == "FRAN_CONF" else "")
    typed = [*flags, "preset=workbook"]
    assert first_word("train", typed).startswith("fran train: project demo, plan plan7, model unet;")
    assert "plan plan2, model unet" in first_word("train", [*typed, "plan=plan2"])
    assert "plan plan1, model dynunet" in first_word("train", ["preset=cpu"])


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["-t", "kits"], {}),
        (["--cfg", "job"], {}),
        (["--quiet"], {}),
        (["quiet=true"], {}),
        ([], {"FRAN_QUIET": "1"}),
        ([], {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "1"}),
    ],
    ids=str,
)
def test_where_nothing_is_said(
    arguments: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    say_first("train", ["project=kits", *arguments], environment)
    assert capsys.readouterr().err == ""


def test_the_first_of_several_processes_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    say_first("train", ["fold=1"], {"FRAN_QUIET": "0", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "0"})
    say_first("score", ["pred=a"], {})
    assert capsys.readouterr().err == "fran train: project demo, plan plan1, model dynunet, fold 1; loading PyTorch …\n"
