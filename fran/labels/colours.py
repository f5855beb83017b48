"""Colours of label values: the same value has the same colour in every picture, file and viewer."""

from __future__ import annotations

import colorsys

# Okabe and Ito's palette, told apart by colour-blind readers too; the order puts what stands out on grey first
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")
_GOLDEN = 0.61803398875  # steps of the golden ratio keep hues apart, however many there are


def colour_of(value: int) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of a label value from 1 on.

    Example:
        >>> [round(c, 2) for c in colour_of(1)]
        [0.9, 0.62, 0.0]
    """
    if value <= len(COLOURS):
        red, green, blue = (int(COLOURS[value - 1][i : i + 2], 16) / 255 for i in (1, 3, 5))
        return red, green, blue
    return colorsys.hsv_to_rgb(value * _GOLDEN % 1.0, (0.65, 0.9)[value % 2], (0.95, 0.75, 0.55)[value % 3])
