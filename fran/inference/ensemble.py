"""Which models can be applied together, and what they agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fran.augmentation.normalise import window_for
from fran.errors import ConfigError, choices
from fran.inference.crops import MODES
from fran.inference.mirror import AUTO, trained_axes
from fran.io.checkpoint import ModelFile
from fran.labels import LabelScheme
from fran.plans.schema import MODE_ALIASES

#: What the members of an ensemble by mean probability must have in common.
SHARED = ("spacing", "labels", "modality", "mode")


def mode_of(meta: Mapping[str, Any]) -> str:
    """Mode of a checkpoint, aliases replaced."""
    return MODE_ALIASES.get(str(meta["mode"]), str(meta["mode"]))


def mirror_axes(mirror: str | Sequence[str], models: Sequence[ModelFile], labels: LabelScheme) -> tuple[str, ...]:
    """Axes of a setting: "auto" are those that every model's training mirrored."""
    if mirror != AUTO:
        return tuple(mirror)
    trained = [trained_axes(model.meta.get("config") or {}, labels.channel_names) for model in models]
    return tuple(axis for axis in trained[0] if all(axis in axes for axes in trained))


def check_ensemble(models: Sequence[ModelFile]) -> None:
    """Raise `ConfigError` unless the models can be applied together."""
    if not models:
        raise ConfigError("models: expected at least one checkpoint, found none; name a run")
    for model in models:
        mode = mode_of(model.meta)
        if mode not in MODES:
            raise ConfigError(f"{model.path}: mode '{mode}' cannot be predicted; {choices(mode, MODES)}")
        if model.meta["modality"].upper() == "CT":
            window_for("CT", {}, model.meta["properties"])
    first = models[0]
    for key in SHARED if mode_of(first.meta) != "whole" else (*SHARED, "patch_size"):
        for other in models[1:]:
            if _comparable(first.meta, key) != _comparable(other.meta, key):
                alone = "predict with each of them alone"
                way = alone if key in ("labels", "modality") else f"use ensemble=vote, or {alone}"
                raise ConfigError(
                    f"ensemble: expected models of one {key}, found {_comparable(first.meta, key)} in {first.path} "
                    f"and {_comparable(other.meta, key)} in {other.path}; {way}"
                )


def _comparable(meta: Mapping[str, Any], key: str) -> Any:
    if key == "labels":
        return LabelScheme.from_dict(meta[key]).names
    if key == "spacing":
        return [round(float(s), 6) for s in meta[key]]
    if key == "patch_size":
        return [int(n) for n in meta[key]]
    return mode_of(meta) if key == "mode" else meta[key]
