"""The training path runs on a machine without image readers, trackers and clusters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCKED = ("SimpleITK", "torchio", "ray", "mlflow", "nibabel", "pandas")

PROGRAM = f"""
import sys, pkgutil, importlib

for name in {BLOCKED!r}:
    sys.modules[name] = None  # what an absent package looks like to `import` and to `find_spec`

rooms = ("data", "augmentation", "networks", "losses", "metrics", "training")
for room in rooms:
    package = importlib.import_module("fran." + room)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"fran.{{room}}.{{module.name}}")
import torch
from fran.networks.build import build_network, fill_spec
for name in ("dynunet", "segresnet"):
    spec = fill_spec({{"_target_": f"fran.networks.{{name}}.{{name}}", "filters": 8}}, 1, 2, (32, 16, 16), (1., 1., 1.))
    build_network(spec)(torch.zeros(1, 1, 32, 16, 16))
assert all(sys.modules[name] is None for name in {BLOCKED!r})
"""

LIGHT = """
import sys
import fran.training.settings, fran.augmentation.settings
assert not {"torch", "monai", "pytorch_lightning", "numpy"} & set(sys.modules), sorted(sys.modules)
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_path_imports_without_readers_trackers_and_clusters():
    run(PROGRAM)


def test_settings_import_nothing_heavy():
    run(LIGHT)
