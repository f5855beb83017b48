"""Keys of a training sample and of a batch.

| key | one sample | batch | meaning |
|---|---|---|---|
| `IMAGE` | int16, float16 (x, y, z) | (B, 1, x, y, z) | stored voxel values; raw units are `stored * slope + inter` |
| `LM` | uint8 or uint16 (x, y, z) | (B, 1, x, y, z) | channel index of the label map, 0 is background |
| `WINDOW` | float32 (6,) | (B, 6) | slope, inter, lower clip, upper clip, mean, std (the last four in raw units) |
| `SEED` | int64 () | (B,) | seed of this sample's augmentation |
| `CASE_ID` | str | list of B str | case the crop was cut from |
| `WIDE` | two (X, Y, Z) | list of (row, (1, X, Y, Z), (1, X, Y, Z)) | IMAGE and LM with what moving them draws in |
| `ANNOTATED` | bool (C,) | (B, C) | channels drawn in the case; a batch where all are lacks it |

WIDE is there only for samples that their augmentation moves.
"""

from __future__ import annotations

from typing import Final

IMAGE: Final = "image"
LM: Final = "lm"
WINDOW: Final = "window"
SEED: Final = "seed"
CASE_ID: Final = "case_id"
WIDE: Final = "wide"
ANNOTATED: Final = "annotated"
