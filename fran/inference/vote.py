"""Several models that each go their own way; the label that most of them give wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import ConfigError
from fran.inference.case import OnBatch, Prediction, Prepared
from fran.inference.member import Member
from fran.inference.predictor import Predictor
from fran.io.volume import Volume


class Vote:
    """Majority of the label maps of several predictors, which may differ in spacing, patch, mode and localiser.

    Args:
        predictors: two or more; where labels tie, the one that the earlier of them gives wins.

    Raises:
        ConfigError: fewer than two, or predictors of different labels.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        if len(predictors) < 2:
            raise ConfigError(f"ensemble: expected two runs or more for a vote, found {len(predictors)}")
        first, *others = predictors
        for other in others:
            if other.labels.names != first.labels.names:
                raise ConfigError(
                    f"ensemble: expected models of one labels, found {first.labels.names} in {first.members[0].path} "
                    f"and {other.labels.names} in {other.members[0].path}; predict with each of them alone"
                )
        self.predictors = tuple(predictors)
        self.labels, self.device, self.modality = first.labels, first.device, first.modality

    @property
    def members(self) -> tuple[Member, ...]:
        """Networks of all predictors."""
        return tuple(member for predictor in self.predictors for member in predictor.members)

    def prepare(self, volume: Volume) -> tuple[Prepared, ...]:
        """What each predictor needs of a volume."""
        return tuple(predictor.prepare(volume) for predictor in self.predictors)

    def run(
        self, prepared: tuple[Prepared, ...], on_batch: OnBatch | None = None, probabilities: Path | None = None
    ) -> Prediction:
        """The label map of a prepared case.

        Raises:
            ConfigError: `probabilities` are asked for, which votes have none of.
        """
        if probabilities is not None:
            raise ConfigError("save_probabilities: a vote has no probabilities; use ensemble=mean")
        found = [p.run(case, on_batch) for p, case in zip(self.predictors, prepared, strict=True)]
        seconds: Counter[str] = Counter()
        for one in found:
            seconds.update(one.seconds)
        return Prediction(majority([one.array for one in found]), dict(seconds), {"votes": [o.facts for o in found]})

    def predict(self, volume: Volume, on_batch: OnBatch | None = None) -> Prediction:
        """Label map of a volume."""
        return self.run(self.prepare(volume), on_batch)

    def describe(self) -> dict[str, Any]:
        """What decides the result besides the image, as plain data."""
        each = [predictor.describe() for predictor in self.predictors]
        models = [model for one in each for model in one["models"]]
        settings = {"ensemble": "vote", "members": [{k: v for k, v in one.items() if k != "labels"} for one in each]}
        return {"models": models, "settings": settings, "labels": each[0]["labels"]}


def majority(maps: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The value that most maps have at each voxel; of those that tie, the earliest map's.

    Example:
        >>> majority([np.array([1, 1, 2], np.uint8), np.array([2, 3, 2], np.uint8), np.array([2, 2, 0], np.uint8)])
        array([2, 1, 2], dtype=uint8)
    """
    out = maps[0].copy()
    most = np.zeros(out.shape, np.uint8)
    for one in maps:
        votes = np.zeros(out.shape, np.uint8)
        for other in maps:
            votes += one == other
        better = votes > most
        out[better] = one[better]
        np.maximum(most, votes, out=most)
    return out
