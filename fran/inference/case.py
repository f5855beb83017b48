"""A case on its way through a prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from fran.inference.member import Member
from fran.io.volume import Volume
from fran.labels import LabelScheme
from fran.preprocessing.prepare import PreparedImage

#: Called with (tiles done, tiles in all) after each forward pass.
OnBatch = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Label map of one volume.

    Attributes:
        array: (x, y, z) label values in RAS+ order on the voxels of the input, uint8 or uint16.
        seconds: wall time of the parts "prepare", "network" and "export", and of "localiser" where there is one.
        facts: how it came about: where the case was cut, where its scores were kept.
    """

    array: NDArray[Any]
    seconds: dict[str, float]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case ready for the network; its raw voxels are not needed any more.

    Attributes:
        path: of the image.
        image: at the plan's spacing.
        seconds: that it took.
        guide: the same case as its localiser wants it.
    """

    path: Path
    image: PreparedImage
    seconds: float
    guide: Prepared | None = None


class Segmenter(Protocol):
    """What turns volumes into label maps: a `Predictor`, or a vote of several."""

    labels: LabelScheme
    device: torch.device
    modality: str

    @property
    def members(self) -> tuple[Member, ...]:
        """The networks."""

    def prepare(self, volume: Volume) -> Any:
        """What the network needs of a volume."""

    def run(self, prepared: Any, on_batch: OnBatch | None = None, probabilities: Path | None = None) -> Prediction:
        """The label map of a prepared case; with `probabilities`, a file of those of the classes too."""

    def describe(self) -> dict[str, Any]:
        """What decides the result besides the image, as plain data."""
