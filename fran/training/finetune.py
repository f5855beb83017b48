"""Start a training from the weights of another run, also one of other labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fran.errors import ConfigError
from fran.io.checkpoint import ModelFile, read_model
from fran.labels import LabelScheme
from fran.networks.build import TARGET, build_network

CHANNELS = "out_channels"
LEAST = 0.5
LISTED = 8


@dataclass
class CarriedOver:
    """What a network took over from a checkpoint.

    Attributes:
        source: the checkpoint.
        whole: names of the tensors taken as they are.
        heads: names of the tensors of which the channels of labels with the same name were taken.
        anew: names of the others, and why they start anew.
        labels: names of the channels that were carried over; those that are new; those that are left behind.
        values: numbers taken as they are, and all numbers of the network.
        differences: arguments of the networks that differ, in words.
    """

    source: Path
    whole: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    anew: dict[str, str] = field(default_factory=dict)
    labels: tuple[list[str], list[str], list[str]] = ([], [], [])
    values: tuple[int, int] = (0, 0)
    differences: str = ""

    def lines(self) -> list[str]:
        """The table that is printed."""
        kept, new, left = (", ".join(names) or "none" for names in self.labels)
        n_all = len(self.whole) + len(self.heads) + len(self.anew)
        millions = " of ".join(f"{n / 1e6:.2f}" for n in self.values)
        lines = [
            f"weights of {self.source}",
            f"  carried over  {len(self.whole)} of {n_all} tensors, {millions} M numbers",
            f"  head          {kept} by name; new: {new}; left behind: {left}",
        ]
        lines += [f"  starts anew   {name}: {why}" for name, why in list(self.anew.items())[:LISTED]]
        if len(self.anew) > LISTED:
            lines.append(f"  starts anew   … and {len(self.anew) - LISTED} more")
        return [*lines, f"  note          {self.differences}"] if self.differences else lines

    def plain(self) -> dict[str, Any]:
        """What the new run's checkpoints remember of it."""
        return {"source": str(self.source), "carried": list(self.whole), "labels": list(self.labels[0])}


def start_from(
    network: nn.Module,
    spec: Mapping[str, Any],
    labels: LabelScheme,
    path: Path,
    trusted: Iterable[str] = (),
) -> CarriedOver:
    """Copy into `network` what fits of the model at `path`.

    A tensor whose name and shape are the same is taken as it is. A tensor of the head, one whose size follows from the
    number of classes, takes the channels of those labels that have the same name in both.

    Args:
        network: changed in place.
        spec: its completed specification.
        labels: of the new training.
        path: run folder (its best checkpoint) or checkpoint.
        trusted: as in `fran.networks.build.build_network`.

    Raises:
        ConfigError: the model is another network, or less than half of the weights fit.
        StoreError: no readable model there.
    """
    model = read_model(path)
    _check_same_kind(model, spec)
    names, before = labels.channel_names, LabelScheme.from_dict(model.meta["labels"]).channel_names
    pairs = [(new, before.index(name)) for new, name in enumerate(names) if name in before]
    kept = [names[new] for new, _ in pairs]
    new, left = [n for n in names if n not in before], [n for n in before if n not in names]
    found = CarriedOver(model.path, labels=(kept, new, left))
    heads = head_dimensions(spec, trusted) if names != before else {}
    for name, tensor in network.state_dict().items():
        _take(found, name, tensor, model.state_dict.get(name), heads.get(name), pairs, len(before))
    taken = sum(network.state_dict()[name].numel() for name in found.whole)
    found.values = taken, sum(tensor.numel() for tensor in network.state_dict().values())
    share = taken / found.values[1]
    if share < LEAST:
        raise ConfigError(
            f"init_from: expected a model that fits the weights of this network, a half at least, found {share:.0%} in"
            f" {model.path}. {_differences(model, spec)}"
        )
    found.differences = _differences(model, spec)
    return found


@torch.no_grad()
def _take(
    found: CarriedOver,
    name: str,
    tensor: Tensor,
    other: Tensor | None,
    head_dimension: int | None,
    pairs: Sequence[tuple[int, int]],
    n_before: int,
) -> None:
    if other is None:
        found.anew[name] = "there is none of this name"
    elif head_dimension is not None:
        expected = list(tensor.shape)
        expected[head_dimension] = n_before
        if list(other.shape) != expected:
            found.anew[name] = f"{tuple(tensor.shape)} here, {tuple(other.shape)} there"
            return
        for new, old in pairs:
            tensor.select(head_dimension, new).copy_(other.select(head_dimension, old))
        found.heads.append(name)
    elif other.shape != tensor.shape:
        found.anew[name] = f"{tuple(tensor.shape)} here, {tuple(other.shape)} there"
    else:
        tensor.copy_(other)
        found.whole.append(name)


def head_dimensions(spec: Mapping[str, Any], trusted: Iterable[str] = ()) -> dict[str, int]:
    """Tensors whose size follows from the number of classes, with the dimension that does.

    Found by building the network for one class more, on shapes alone.

    Example:
        >>> spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 3}
        >>> head_dimensions(spec)
        {'weight': 0, 'bias': 0}
    """
    if CHANNELS not in spec:
        return {}
    with torch.device("meta"):
        now, more = (
            build_network({**spec, CHANNELS: spec[CHANNELS] + extra}, trusted).state_dict() for extra in (0, 1)
        )
    found = {}
    for name, tensor in now.items():
        differing = [d for d, (a, b) in enumerate(zip(tensor.shape, more[name].shape, strict=True)) if a != b]
        if len(differing) == 1 and tensor.shape[differing[0]] == spec[CHANNELS]:
            found[name] = differing[0]
    return found


def check_unseen(path: Path, project: str, val_ids: Iterable[str]) -> None:
    """Refuse weights that were trained on cases of this project which would now validate.

    Raises:
        ConfigError: naming such cases.
    """
    meta = read_model(path).meta
    seen = sorted(set(meta.get("datasets", {}).get("train", ())) & set(val_ids))
    if seen and project and meta.get("project") == project:
        raise ConfigError(
            f"init_from: expected validation cases that {path} was not trained on, found {len(seen)} it was trained on:"
            f" {', '.join(seen[:10])}. Take a run of the same fold as this one; that one's is {meta.get('fold')}"
        )


def _check_same_kind(model: ModelFile, spec: Mapping[str, Any]) -> None:
    here, there = spec[TARGET], model.meta["network"][TARGET]
    if here != there:
        raise ConfigError(
            f"init_from: expected weights of the network {here}, found those of {there} in {model.path};"
            " choose that network by model=…, or another run"
        )


def _differences(model: ModelFile, spec: Mapping[str, Any]) -> str:
    """Arguments of the network that differ, for people; empty where none does."""
    before = model.meta["network"]
    keys = [k for k in {**before, **spec} if before.get(k) != spec.get(k) and k != CHANNELS]
    listed = "; ".join(f"model.{k}: {spec.get(k)} here, {before.get(k)} there" for k in keys)
    return f"The networks differ: {listed}" if listed else ""
