"""Networks from plain specifications: `{"_target_": "package.callable", ...keyword arguments}`.

A specification is data, so it goes into the configuration and the checkpoint, and the network can be built again from
either. Only callables of known packages are imported, for a checkpoint may come from somewhere else.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from fran.errors import ConfigError, choices

TARGET = "_target_"
ALLOWED_PREFIXES = ("monai.networks.", "fran.networks.", "torch.nn.")
FILLED = ("in_channels", "out_channels", "patch_size", "spacing")
_SEARCH_STEPS = (4, 8, 16, 32)

Vox = tuple[int, int, int]


def build_network(spec: Mapping[str, Any], trusted: Iterable[str] = ()) -> nn.Module:
    """Import `spec["_target_"]`, check the other keys against its signature, and call it.

    Args:
        spec: plain mapping; lists are passed as lists.
        trusted: modules of the user's own from which targets may come too.

    Raises:
        ConfigError: target missing, not allowed, not importable, an unknown or missing argument, or values it refuses.
    """
    factory = _resolve(spec, tuple(trusted))
    arguments = {key: value for key, value in spec.items() if key != TARGET}
    _check_arguments(spec[TARGET], factory, arguments)
    try:
        network = factory(**arguments)
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"network {spec[TARGET]}: refused its arguments {arguments}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"network {spec[TARGET]}: expected a torch.nn.Module, got {type(network).__name__}")
    return network


def fill_spec(
    spec: Mapping[str, Any],
    in_channels: int,
    out_channels: int,
    patch_size: Vox,
    spacing: tuple[float, float, float],
    trusted: Iterable[str] = (),
) -> dict[str, Any]:
    """`spec` completed with those of in_channels, out_channels, patch_size and spacing that its callable takes.

    Values already in `spec` stay, except that null counts as absent.

    Raises:
        ConfigError: the target cannot be used, or `spec` fixes a number of channels that contradicts the data.
    """
    known = inspect.signature(_resolve(spec, tuple(trusted))).parameters
    filled = dict(spec)
    values: tuple[Any, ...] = (in_channels, out_channels, [int(n) for n in patch_size], [float(s) for s in spacing])
    for name, value in zip(FILLED, values, strict=True):
        if name not in known:
            continue
        if filled.get(name) is None:
            filled[name] = value
        elif name.endswith("channels") and filled[name] != value:
            raise ConfigError(f"model.{name}: expected {value} from the data, found {filled[name]}; leave it out")
    return filled


def stride_multiple(spec: Mapping[str, Any], patch_size: Vox, trusted: Iterable[str] = ()) -> Vox | None:
    """Voxels along (x, y, z) of which a patch must be a multiple, or None where only a trial can tell.

    Args:
        spec: completed by `fill_spec`.
        patch_size: the patch in question; topologies may depend on it.
        trusted: as in `build_network`.
    """
    rule = getattr(_resolve(spec, tuple(trusted)), "stride_multiple", None)
    arguments = {key: value for key, value in spec.items() if key != TARGET}
    if rule is not None:
        multiple: Vox = rule(**{**arguments, "patch_size": patch_size})
        return multiple
    strides = arguments.get("strides")
    if not isinstance(strides, list | tuple) or not strides:
        return None
    total = [1, 1, 1]
    for stride in strides:
        steps = stride if isinstance(stride, list | tuple) else [stride] * 3
        total = [a * int(b) for a, b in zip(total, steps, strict=True)]
    return total[0], total[1], total[2]


def check_patch_size(spec: Mapping[str, Any], patch_size: Vox, trusted: Iterable[str] = ()) -> None:
    """Raise `ConfigError` naming the nearest valid sizes when the network cannot take `patch_size`."""
    nearest = nearest_patch_sizes(spec, patch_size, trusted)
    if nearest is not None:
        raise _patch_error(spec, patch_size, nearest)


def nearest_patch_sizes(spec: Mapping[str, Any], patch_size: Vox, trusted: Iterable[str] = ()) -> list[Vox] | None:
    """The valid sizes around a patch that the network cannot take; None where it can take it.

    Networks that publish no rule are tried on the meta device, which computes shapes only; an empty list means that
    no size around was found.
    """
    multiple = stride_multiple(spec, patch_size, trusted)
    if multiple is not None:
        if _fits(spec, patch_size, trusted):
            return None
        x, y, z = multiple
        proposed = [
            *_neighbours(patch_size, multiple),
            *([(2 * x, 2 * y, z), (x, y, 2 * z)] if patch_size == multiple else []),
        ]
        # a topology may change with the patch, so each proposal is held against its own rule
        return [size for size in proposed if _fits(spec, size, trusted)]
    _check_arguments(spec[TARGET], _resolve(spec, tuple(trusted)), {k: v for k, v in spec.items() if k != TARGET})
    if _runs(spec, patch_size, trusted):
        return None
    tried = [_neighbours(patch_size, (m, m, m)) for m in _SEARCH_STEPS]
    return next((sizes for sizes in tried if all(_runs(spec, size, trusted) for size in sizes)), [])


def _fits(spec: Mapping[str, Any], patch_size: Vox, trusted: Iterable[str]) -> bool:
    multiple = stride_multiple(spec, patch_size, trusted)
    if multiple is None or any(n % m for n, m in zip(patch_size, multiple, strict=True)):
        return False
    # normalising over the one voxel of a coarsest map would leave nothing of it
    return patch_size != multiple


def _patch_error(spec: Mapping[str, Any], patch_size: Vox, valid: list[Vox]) -> ConfigError:
    nearest = " or ".join(str(list(size)) for size in valid) or "not found; try multiples of 32"
    return ConfigError(
        f"patch_size: {list(patch_size)} does not go with the strides of {spec[TARGET]}; nearest valid sizes: {nearest}"
    )


def _neighbours(patch_size: Vox, multiple: Vox) -> list[Vox]:
    def rounded(up: int) -> Vox:
        sizes = [n if n % m == 0 else max(m, (n // m + up) * m) for n, m in zip(patch_size, multiple, strict=True)]
        return sizes[0], sizes[1], sizes[2]

    return sorted({rounded(0), rounded(1)})


def _runs(spec: Mapping[str, Any], patch_size: Vox, trusted: Iterable[str]) -> bool:
    sized = {**spec, "patch_size": list(patch_size)} if "patch_size" in spec else dict(spec)
    try:
        with torch.device("meta"):
            output = build_network(sized, trusted).eval()(torch.empty(1, int(spec.get("in_channels", 1)), *patch_size))
    except (RuntimeError, ValueError, AssertionError):
        return False
    first = output[0] if isinstance(output, list | tuple) else output
    return tuple(first.shape[-3:]) == tuple(patch_size)


def _resolve(spec: Mapping[str, Any], trusted: tuple[str, ...]) -> Callable[..., Any]:
    target = spec.get(TARGET)
    if not isinstance(target, str):
        raise ConfigError(f"model.{TARGET}: expected a name such as fran.networks.dynunet.dynunet, found {target!r}")
    if not target.startswith((*ALLOWED_PREFIXES, *(f"{module}." for module in trusted))):
        allowed = ", ".join((*ALLOWED_PREFIXES, *trusted))
        raise ConfigError(f"model.{TARGET}: {target!r} is outside the allowed packages: {allowed}")
    module, _, name = target.rpartition(".")
    try:
        found: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ConfigError(f"model.{TARGET}: cannot import {module}: {error}") from error
    if not callable(found):
        public = [key for key, value in vars(importlib.import_module(module)).items() if inspect.isclass(value)]
        raise ConfigError(f"model.{TARGET}: {module} has no callable {name!r}; {choices(name, public)}")
    return found


def _check_arguments(target: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in arguments:
        if name not in parameters:
            raise ConfigError(f"model.{name}: {target} has no such argument; {choices(name, list(parameters))}")
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise ConfigError(f"network {target}: expected also {', '.join(missing)}")
