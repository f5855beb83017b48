"""What to propose on the machine at hand: without a GPU, what a CPU trains in minutes to hours."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence

CPU_PRESET = "preset=cpu"
WITHOUT_GPU = (
    f"no CUDA device was found here: {CPU_PRESET} trains a smaller network in minutes to hours, and"
    " trainer.max_time=00:30:00 ends it in time"
)
"""What is said of a proposed training that has the preset."""
CPU_PATCH_VOXELS = 64**3
"""Voxels of a patch that a few CPU cores take a step of in about a second, with the preset."""
_CHOOSE_THE_DEVICE = ("preset=", "trainer=", "trainer.accelerator=")


def has_gpu() -> bool:
    """Whether there is a CUDA device that a training would use; asks the driver where PyTorch is not loaded yet."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return bool(torch.cuda.is_available())
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def trainable_here(settings: Sequence[str]) -> tuple[list[str], str]:
    """The settings of a proposed training, with the preset for a CPU where there is no GPU, and what to say of it.

    Settings that choose a preset or a device are left as they are.
    """
    if any(setting.startswith(_CHOOSE_THE_DEVICE) for setting in settings) or has_gpu():
        return [*settings], ""
    return [*settings, CPU_PRESET], WITHOUT_GPU
