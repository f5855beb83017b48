from __future__ import annotations

import subprocess
import sys

BLOCKED = ("SimpleITK", "nibabel", "torchio", "ray", "mlflow", "pandas")


def test_the_training_path_needs_no_image_reader_tracker_or_cluster() -> None:
    code = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # any import of it now fails
import fran.data.datamodule, fran.augmentation.batched, fran.networks.build, fran.networks.dynunet
import fran.losses.segmentation, fran.metrics.dice, fran.training.fit
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
