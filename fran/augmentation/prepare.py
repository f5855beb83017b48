"""From a batch as it leaves the loader to what the network sees."""

from __future__ import annotations

from typing import Any

import torch

from fran import keys
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.normalise import floor_of, normalise_stored


@torch.no_grad()
def prepare_batch(batch: dict[str, Any], augmentation: BatchAugmentation | None) -> dict[str, Any]:
    """The batch with IMAGE normalised to float32 and, with `augmentation`, augmented with LM; WIDE is left out."""
    window = batch[keys.WINDOW]
    prepared = {key: value for key, value in batch.items() if key != keys.WIDE}
    prepared[keys.IMAGE] = image = normalise_stored(batch[keys.IMAGE], window)
    if augmentation is not None:
        wide = {
            row: (normalise_stored(box[None], window[row : row + 1])[0], channels)
            for row, box, channels in batch.get(keys.WIDE, [])
        }
        moved = augmentation(image, batch[keys.LM], batch[keys.SEED], floor_of(window), wide)
        prepared[keys.IMAGE], prepared[keys.LM] = moved
    return prepared
