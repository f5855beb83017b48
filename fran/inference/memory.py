"""What fits where: decided before anything large is allocated, and said in words."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fran.errors import ConfigError, DataError
from fran.preprocessing.memory import SHARE, free_memory

Home = Literal["gpu", "memory", "disk"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: Share of a GPU's budget that a volume and its sums may take; the rest is the network's.
_GPU_SHARE = 0.6


def parse_bytes(text: str | int | None) -> int | None:
    """Bytes of a size such as "8GB", "500 MiB" or a number of bytes; None of "auto" and of None.

    Raises:
        ConfigError: not a size above 0.

    Example:
        >>> parse_bytes("8GB"), parse_bytes("1.5GiB"), parse_bytes("auto")
        (8000000000, 1610612736, None)
    """
    if text is None or text == "auto":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", str(text).strip().upper())
    size = 0
    if found:
        number, unit, binary = found.groups()
        size = int(float(number) * (_BINARY[unit] if binary and unit else _UNITS[unit]))
    if size <= 0:
        raise ConfigError(f"memory: expected a size such as 8GB or 500MiB, or auto, found '{text}'")
    return size


@dataclass(frozen=True)
class Needs:
    """What one case takes, in bytes.

    Attributes:
        image: the prepared volume.
        labels: the result on the raw grid.
        sums: the window of class scores.
        tile: what one tile takes on its way through the network.
    """

    image: int
    labels: int
    sums: int
    tile: int

    @classmethod
    def of(
        cls,
        stored: Sequence[int],
        raw: Sequence[int],
        n_classes: int,
        window: Sequence[int],
        patch: Sequence[int],
        features: int,
    ) -> Needs:
        """Estimate.

        Args:
            stored, raw: shapes of the prepared and of the raw volume.
            n_classes: output channels.
            window: shape of the planes that are kept at a time.
            patch: shape of a tile.
            features: channels of the network at full resolution; a few such maps are alive at a time.
        """
        one_map = 4 * math.prod(patch)
        wide = 1 if n_classes <= 256 else 2
        sums = 4 * n_classes * math.prod(window)
        return cls(2 * math.prod(stored), wide * math.prod(raw), sums, one_map * (2 * n_classes + 4 * features))


@dataclass(frozen=True)
class MemoryPlan:
    """Where one case's arrays go.

    Attributes:
        image, sums: homes of the prepared volume and of the scores.
        tile_batch: tiles in one forward pass.
        text: the decision in words.
    """

    image: Home
    sums: Home
    tile_batch: int
    text: str

    @property
    def choice(self) -> tuple[str, str, int]:
        """What was chosen, without the figures."""
        return self.image, self.sums, self.tile_batch


def plan_memory(
    needs: Needs,
    tile_batch: int,
    ram: int | None,
    used: int,
    gpu: int | None = None,
    free: int | None = None,
) -> MemoryPlan:
    """Choose where the volume and the scores live and how many tiles go at once.

    Args:
        needs: of the case.
        tile_batch: wanted tiles in one forward pass.
        ram: bytes that this process may take in all; None is what is free.
        used: bytes that it has taken.
        gpu: bytes that it may take on the GPU; None where the network runs on the CPU.
        free: free bytes of the machine; None asks it.

    Raises:
        DataError: a `ram` that was given is less than the least that the case takes.

    Example:
        >>> needs = Needs(image=24_000_000, labels=52_000_000, sums=800_000_000, tile=50_000_000)
        >>> plan_memory(needs, 2, 10**9, used=600_000_000).sums
        'disk'
    """
    limit = ram if ram is not None else used + int(SHARE * (free_memory() if free is None else free))
    given = "given" if ram is not None else "80 % of what is free"
    budget = f"ram {_gb(limit)} ({given}), {_gb(used)} of it taken"
    if gpu is not None and needs.image + needs.sums <= _GPU_SHARE * gpu:
        where = f"volume ({_gb(needs.image)}) and scores ({_gb(needs.sums)}) on the GPU, {_gb(gpu)} there"
        return MemoryPlan("gpu", "gpu", tile_batch, f"{where}; {_tiles(tile_batch)}")
    tile = 0 if gpu is not None else needs.tile
    rest = limit - used - needs.image - needs.labels
    fitting = [n for n in range(tile_batch, 0, -1) if needs.sums + n * tile <= rest]
    if fitting:
        text = f"{budget}; scores ({_gb(needs.sums)}) in memory; {_tiles(fitting[0])}"
        return MemoryPlan("memory", "memory", fitting[0], text)
    batch = next((n for n in range(tile_batch, 0, -1) if n * tile <= rest), 1)
    least = used + needs.image + needs.labels + tile
    if ram is not None and least > ram:
        raise DataError(
            f"ram: this case takes about {_gb(least)} even with its scores on disk, of which {_gb(used)} are taken "
            f"already; found ram={_gb(ram)}; give more"
        )
    return MemoryPlan(
        "memory", "disk", batch, f"{budget}; scores ({_gb(needs.sums)}) in a temporary file; {_tiles(batch)}"
    )


def used_memory() -> int:
    """Resident bytes of this process."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the peak, where the present is not told


def room_for(shape: Sequence[int], ram: int | None) -> bool:
    """Whether an image of a shape can be read and prepared beside what there is; as read it is 8 bytes a voxel at most.

    Args:
        shape: of the raw image.
        ram: bytes that this process may take in all; None is what is free.
    """
    used = used_memory()
    limit = used + int(SHARE * free_memory()) if ram is None else ram
    return used + 8 * math.prod(shape) <= limit


def _tiles(n: int) -> str:
    return f"tiles {n} at a time"


def _gb(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 10**8 else f"{n / 1e6:.0f} MB"
