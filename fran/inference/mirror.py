"""Test-time mirroring: which axes, and what it does to labels that tell sides apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor

from fran.augmentation.settings import safe_flips
from fran.errors import ConfigError

AXES = ("x", "y", "z")
AUTO = "auto"
#: Words that name the two sides of x, y and z.
_OPPOSITES = ((("left", "right"),), (("anterior", "posterior"),), (("superior", "inferior"), ("upper", "lower")))


@dataclass(frozen=True)
class View:
    """One way to look at a tile.

    Attributes:
        axes: spatial axes that are mirrored (0 is x).
        channels: for each output channel the one that it is read from, where labels change sides; None leaves them.
    """

    axes: tuple[int, ...] = ()
    channels: tuple[int, ...] | None = None


PLAIN = View()


def mirrored(tiles: Tensor, axes: Sequence[int]) -> Tensor:
    """Tiles (n, C, x, y, z) mirrored along spatial axes."""
    return tiles.flip([axis + 2 for axis in axes]) if axes else tiles


def trained_axes(config: Mapping[str, Any], label_names: Sequence[str]) -> list[str]:
    """The axes along which a run's training mirrored, by the configuration in its checkpoint."""
    settings = config.get("augmentation") or {}
    flips = [float(p) for p in settings.get("flip_p", [0.0, 0.0, 0.0])]
    if not settings.get("flip_lateral_labels", False):
        flips = safe_flips(flips, list(label_names))
    return [name for name, p in zip(AXES, flips, strict=True) if p > 0]


def views(axes: Sequence[str], channel_names: Sequence[str]) -> list[View]:
    """Every combination of mirrored axes, the plain view first.

    Args:
        axes: some of x, y, z.
        channel_names: of the network, background first. Along an axis whose sides they tell apart (left, right, ...)
            the channels of a pair change places.

    Raises:
        ConfigError: an unknown axis, or a label of one side without its partner.

    Example:
        >>> views(["x"], ["background", "kidney_left", "kidney_right", "liver"])[1]
        View(axes=(0,), channels=(0, 2, 1, 3))
    """
    strange = [axis for axis in axes if axis not in AXES]
    if strange:
        raise ConfigError(f"mirror: expected axes among x, y, z, or auto, found {', '.join(map(str, strange))}")
    numbers = sorted({AXES.index(axis) for axis in axes})
    several = [c for n in range(1, len(numbers) + 1) for c in combinations(numbers, n)]
    return [PLAIN, *(View(c, _swapped(c, channel_names)) for c in several)]


def _swapped(axes: Sequence[int], names: Sequence[str]) -> tuple[int, ...] | None:
    order = list(range(len(names)))
    for axis in axes:
        partners = [_partner(name, axis, names) for name in names]
        order = [order[p] for p in partners]
    return None if order == list(range(len(names))) else tuple(order)


def _partner(name: str, axis: int, names: Sequence[str]) -> int:
    """Channel of the same structure on the other side; its own where the name tells no side of the axis."""
    lower = [n.lower() for n in names]
    words = name.lower().replace("_", " ").replace("-", " ").split()
    other_side = {a: b for pair in _OPPOSITES[axis] for a, b in (pair, pair[::-1])}
    told = [word for word in words if word in other_side]
    if not told:
        return lower.index(name.lower())
    wanted = name.lower().replace(told[0], other_side[told[0]])
    if wanted in lower:
        return lower.index(wanted)
    raise ConfigError(
        f"mirror: along {AXES[axis]} the label '{name}' would change sides, and there is no label of the other side; "
        f"leave {AXES[axis]} out"
    )
