"""Scores that outgrow the memory: sums in a temporary file, and what the export reads."""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fran.errors import StoreError
from fran.networks.sums import PlaneSums

#: Probabilities are raised to this before the logarithm.
_LEAST = 1e-30


class DiskTensor:
    """Zeroed float32 tensor in a temporary file, whose pages can be put out of this process's memory at any time.

    Args:
        shape: of the tensor.
        folder: of the file; the system's temporary folder by default.

    Raises:
        StoreError: the disk has too little room; writing to a full disk through a mapping would kill the process.
    """

    def __init__(self, shape: tuple[int, ...], folder: Path | str | None = None) -> None:
        wanted = 4 * math.prod(shape)
        folder = Path(folder or tempfile.gettempdir())
        free = shutil.disk_usage(folder).free
        if free < 1.1 * wanted:
            raise StoreError(
                f"scratch: expected {wanted / 2**30:.1f} GiB free in {folder} for the scores, found {free / 2**30:.1f};"
                " name another folder as scratch"
            )
        with tempfile.TemporaryFile(prefix="fran-", dir=folder) as file:
            file.truncate(wanted)
            self._map = mmap.mmap(file.fileno(), wanted)  # keeps the nameless file until it is gone itself
        self.tensor = torch.frombuffer(self._map, dtype=torch.float32).reshape(shape)

    def let_go(self) -> None:
        """Leave the pages to the system, which keeps them as long as it has room, and writes them out where not."""
        if hasattr(mmap, "MADV_DONTNEED") and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


class ReadSums:
    """Sums as the export reads them: (C, x, y, z) float32 scores of a box.

    Args:
        sums: logits, or probabilities.
        probabilities: take the logarithm, so that an ensemble of one model twice is that model: a softmax of
            log-probabilities gives the probabilities back.
    """

    def __init__(self, sums: PlaneSums, n_classes: int, probabilities: bool) -> None:
        self._sums, self._probabilities = sums, probabilities
        self.shape = (n_classes, *sums.shape)

    def __getitem__(self, key: Any, /) -> NDArray[np.float32]:
        """Scores of a box given by slices; all channels."""
        _, *box = key
        part = self._sums.box([(s.start, s.stop) for s in box])
        if self._probabilities:
            part = part.clamp_min(_LEAST).log()
        return np.asarray(part.cpu().numpy())


def softmax(tiles: Tensor) -> Tensor:
    """(n, C, x, y, z) probabilities of logits, in float32."""
    return tiles.float().softmax(dim=1)
