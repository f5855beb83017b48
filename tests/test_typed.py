"""Whoever imports fran gets its types, as the marker py.typed promises (PEP 561)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fran

REPOSITORY = Path(__file__).resolve().parents[1]
# the types of these are not asked about, and reading them takes most of mypy's time
SKIPPED = "torch numpy scipy monai pytorch_lightning mlflow rich omegaconf hydra openpyxl matplotlib pydicom PIL jinja2"
CONFIG = f"[mypy]\n[mypy-{','.join(f'{name}.*' for name in SKIPPED.split())}]\nfollow_imports = skip\n"


@pytest.mark.slow
def test_no_public_name_is_any(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(CONFIG)
    script = tmp_path / "uses_fran.py"
    script.write_text("import fran\n" + "".join(f"reveal_type(fran.{name})\n" for name in fran.__all__))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", script.name]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}  # as installed: mypy looks for py.typed there
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    revealed = [line.partition("Revealed type is ")[2] for line in done.stdout.splitlines() if "Revealed" in line]
    assert len(revealed) == len(fran.__all__) and '"Any"' not in revealed
    assert revealed[fran.__all__.index("train")].startswith('"def (project: ')
