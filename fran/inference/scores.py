"""Scores of whole volumes, which outgrow the memory when there are many classes."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from fran.errors import StoreError

_SLAB_BYTES = 1 << 26


def zeros_on_disk(shape: tuple[int, ...], folder: Path | str | None = None) -> Tensor:
    """Zeroed float32 tensor in a temporary file that is gone with the tensor.

    Raises:
        StoreError: the disk has too little room; writing to a full disk through a mapping would kill the process.
    """
    wanted = 4 * math.prod(shape)
    folder = Path(folder or tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < 1.1 * wanted:
        raise StoreError(
            f"scratch: expected {wanted / 2**30:.1f} GiB free in {folder} for the scores, found {free / 2**30:.1f}; "
            "name another folder as scratch"
        )
    # where the system allows it the name goes at once and the file itself with the last reference to it
    with tempfile.TemporaryDirectory(prefix="fran-", dir=folder, ignore_cleanup_errors=True) as name:
        file = str(Path(name) / "scores")
        return torch.from_file(file, shared=True, size=wanted // 4, dtype=torch.float32).reshape(shape)


def add_probabilities(logits: Tensor, total: Tensor | None, weight: float) -> Tensor:
    """Turn logits (C, x, y, z) into softmax probabilities, weight them and add them to `total`, in slabs along x.

    Returns:
        `total`, changed in place; for the first model, where it is None, `logits`, overwritten.
    """
    out = logits if total is None else total
    planes = max(1, _SLAB_BYTES // (4 * logits[:, 0].numel()))
    for start in range(0, logits.shape[1], planes):
        part = logits[:, start : start + planes].softmax(dim=0).mul_(weight)
        if total is None:
            out[:, start : start + planes] = part
        else:
            out[:, start : start + planes] += part
    return out
