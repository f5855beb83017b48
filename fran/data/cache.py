"""Where the training's volumes are kept: in files, in memory, or on the device that trains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fran.io.memory import free_memory

if TYPE_CHECKING:
    import torch

CACHES = ("none", "ram", "device")
RAM_SHARE = 0.8
DEVICE_SHARE = 0.5
"""Of a GPU's free memory; the rest is for the network and its activations, which are not there yet."""

Vox = tuple[int, int, int]


@dataclass(frozen=True)
class CacheChoice:
    """The cache that will be used, and what is to be said about it.

    Attributes:
        kind: "none", "ram" or "device".
        says: one sentence.
        less: it is not what was asked for.
    """

    kind: str
    says: str
    less: bool = False


def volumes_bytes(shapes: Iterable[Vox], label_bytes: int) -> int:
    """Bytes of 16 bit images with their label maps.

    Args:
        shapes: (x, y, z) of each volume.
        label_bytes: of a voxel of the label maps: 1 up to 255 classes, else 2 in memory and 4 on a device.

    Example:
        >>> volumes_bytes([(10, 10, 10), (5, 4, 3)], 1)
        3180
    """
    return sum(math.prod(shape) for shape in shapes) * (2 + label_bytes)


def choose_cache(
    wanted: str, train_bytes: int, val_bytes: int, device_free: int, ram_free: int, sample_bytes: int = 0
) -> CacheChoice:
    """`wanted`, or the next best where it does not fit: the device, then memory, then files.

    Args:
        wanted: "none", "ram" or "device".
        train_bytes: of all training volumes; a device holds these alone.
        val_bytes: of all validation volumes, which memory holds too.
        device_free: bytes that data may take on the device.
        ram_free: bytes that data may take in memory.
        sample_bytes: of the foreground samples, which memory holds beside either.

    Example:
        >>> choose_cache("device", 900, 100, device_free=500, ram_free=2000).kind
        'ram'
    """
    both = train_bytes + val_bytes + sample_bytes
    needs = f"the training cases take {_gb(train_bytes)}, with validation {_gb(both)}"
    refused = ""
    if wanted == "device":
        if train_bytes <= device_free and sample_bytes <= ram_free:
            says = f"{_gb(train_bytes)} of training cases on the device, crops are cut there, no loader process"
            return CacheChoice("device", f"trainer.cache=device: {says}")
        refused = f"the device has {_gb(device_free)} for data; "
    if wanted in ("device", "ram"):
        if both <= ram_free:
            says = f"{_gb(both)} of cases in memory, once for all loader processes"
            says = f"{needs}, {refused}kept in memory instead" if refused else says
            return CacheChoice("ram", f"trainer.cache={wanted}: {says}", bool(refused))
        says = f"{needs}, {refused}memory has {_gb(ram_free)} for data; crops are read from the files instead"
        return CacheChoice("none", f"trainer.cache={wanted}: {says}", True)
    return CacheChoice("none", "trainer.cache=none: crops are read from the files")


def room_on(device: torch.device) -> int:
    """Bytes that data may take on a device."""
    if device.type == "cuda":
        import torch

        return int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])
    return room_in_memory()


def room_in_memory() -> int:
    """Bytes that data may take in memory."""
    return int(RAM_SHARE * free_memory())


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.2f} MB"
