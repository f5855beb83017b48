"""The commands that docs/plans.md shows, and what they say on a project of phantoms.

``python tests/workflows/plan_page.py`` writes their output into the page anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plans.md"
BLOCK = re.compile(r"    \$ (fran .*)\n((?:    (?!\$ ).*\n|\n(?=    (?!\$ )))*)")
IMPORTED = "fran/cold/predictions/totalseg/LITS-1088"
"""Folder of label maps that the page's plan crops to."""
SIZES = {"nodesthick": ((64, 72, 20), (1.5, 1.5, 5.0), 8), "nodes": ((80, 72, 60), (1.0, 1.0, 1.5), 12)}


def commands() -> list[str]:
    """Every command of the page, in order."""
    return [command for command, _ in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]


def shown(command: str) -> str:
    """What the page says that the command prints."""
    said = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))[command]
    return "\n".join(line[4:] for line in str(said).strip("\n").splitlines())


def make_project(home: Path) -> None:
    """Project `nodes` below ``<home>/fran``, of two datasources; `home` must be the process's home folder.

    The label maps that the plan `nodes` imports are there too.
    """
    from fran import Project

    project = Project("nodes")
    project.create()
    for name, (size, spacing, n) in SIZES.items():
        folder = home / "raw" / name
        for side in ("images", "lms"):
            (folder / side).mkdir(parents=True)
        for k in range(n):
            _write(folder, f"{name}_{k:02d}.nii.gz", size, np.diag([*spacing, 1.0]), k)
        shutil.copytree(folder / "lms", home / IMPORTED, dirs_exist_ok=True)
        project.add_data({"ds": name, "folder": folder, "alias": None})
    project.maybe_store_projectwide_properties()


def _write(folder: Path, name: str, size: tuple[int, ...], affine: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng([seed, *name.encode()])
    image = rng.normal(40, 100, size).astype(np.int16)
    lm = np.zeros(size, np.uint8)
    lm[5 : 20 + seed, 10:22, 3:8] = 1
    nibabel.save(nibabel.Nifti1Image(image, affine), folder / "images" / name)
    nibabel.save(nibabel.Nifti1Image(lm, affine), folder / "lms" / name)


def output(command: str) -> str:
    """What the command prints on standard output; raises where it fails."""
    from fran.cli import main

    said, argv = io.StringIO(), sys.argv
    sys.argv = shlex.split(command)
    try:
        with contextlib.redirect_stdout(said):
            main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{command}: exit status {ended.code}") from ended
    finally:
        sys.argv = argv
    return said.getvalue().rstrip("\n")


def rewrite() -> None:
    """Bring the page up to date."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        for name in ("FRAN_HOME", "FRAN_CONF", "FRAN_COMMON_PATHS"):
            os.environ.pop(name, None)
        make_project(Path(folder))
        text = PAGE.read_text(encoding="utf-8")
        for command, old in BLOCK.findall(text):
            new = "".join(f"    {line}\n" if line else "\n" for line in output(command).splitlines())
            text = text.replace(
                f"    $ {command}\n{old}", f"    $ {command}\n{new}" + ("\n" if old.endswith("\n\n") else "")
            )
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
