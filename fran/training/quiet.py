"""Keep Lightning from talking over fran's own messages."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# what is said about things that are meant: hooks in the module, few logging steps, few workers on a CPU
EXPECTED = (
    "You have overridden",
    "The number of training batches",
    "The '.*dataloader' does not have many workers",
    ".*treespec, LeafSpec.*",
    "Checkpoint directory",
    # the sampler goes on from where it was, see EpochSampler
    "You're resuming from a checkpoint that ended before the epoch ended",
    # said of figures that are reduced over the processes already
    "It is recommended to use `self.log",
    "You defined a `validation_step` but have no `val_dataloader`",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notes and the warnings that fran expects, for the length of the block."""
    names = ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed")
    loggers = [logging.getLogger(name) for name in names]
    former = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, former, strict=True):
                logger.setLevel(level)
