"""What a run depends on besides its configuration: package versions and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "fran", "torch", "pytorch-lightning", "monai", "numpy", "scipy", "h5py", "nibabel", "SimpleITK", "hydra-core",
    "omegaconf", "mlflow", "ray",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Version of Python and of each installed package that can change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path | str | None = None) -> str | None:
    """Commit of the checkout that fran runs from, with ``-dirty`` after local changes; None outside a checkout."""
    folder = Path(folder) if folder is not None else Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        call = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
        done = subprocess.run(call, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
