from __future__ import annotations

import subprocess
import sys


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fran.cli", *arguments], capture_output=True, text=True, check=False)


def test_help_lists_the_verbs_with_an_example_each() -> None:
    done = run("--help")
    assert done.returncode == 0
    for verb in ("init", "preprocess", "train", "infer", "score", "ui", "demo"):
        assert f"fran {verb}" in done.stdout


def test_an_unknown_verb_suggests_the_nearest() -> None:
    done = run("trian")
    assert done.returncode == 2
    assert "did you mean 'train'" in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv=['fran','--help']; from fran.cli import main; main(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    for heavy in ("torch", "hydra", "numpy", "mlflow"):
        assert f"'{heavy}'" not in loaded
