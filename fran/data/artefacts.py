"""Transforms of TorchIO on single crops, such as artefacts of MR, by the sample's seed.

TorchIO is imported only where the settings name one of its transforms; ``pip install 'fran[mr]'`` brings it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fran.errors import ConfigError, choices

TARGET, CHANCE = "_target_", "p"
SETTING = "augmentation.transforms"
_STREAM = 0x1CE


class Artefacts:
    """Apply each transform with its probability, in the order of the settings.

    Args:
        specs: name to ``{_target_: torchio.<class>, p: probability, ...arguments}``.

    Raises:
        ConfigError: TorchIO is not installed, has no such transform, or the transform refuses its arguments.
    """

    def __init__(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        self.transforms = {name: (float(spec.get(CHANCE, 1.0)), _made(name, spec)) for name, spec in specs.items()}

    def __call__(self, stored: NDArray[Any], window: NDArray[np.float32], seed: int) -> NDArray[Any]:
        """A changed copy of the crop, or the crop itself where nothing was drawn.

        Args:
            stored: (x, y, z) int16 or float16 as in a case file.
            window: of the case, see `fran.keys.WINDOW`; transforms see raw units.
            seed: of the sample.
        """
        chances = np.random.default_rng([seed, _STREAM]).random(len(self.transforms))
        drawn = [made for u, (p, made) in zip(chances, self.transforms.values(), strict=True) if u < p]
        if not drawn:
            return stored
        slope, inter = (float(v) for v in window[:2])
        raw = torch.from_numpy(stored.astype(np.float32)).mul_(slope).add_(inter)[None]
        # TorchIO draws from torch's own generator, whose state belongs to the network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed ^ _STREAM)
            for transform in drawn:
                raw = transform(raw)
        changed = (raw[0].numpy() - inter) / slope
        if not np.issubdtype(stored.dtype, np.integer):
            return changed.astype(stored.dtype)
        limits = np.iinfo(stored.dtype)
        return np.clip(np.rint(changed), limits.min, limits.max).astype(stored.dtype)


def _made(name: str, spec: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    key = f"{SETTING}.{name}"
    module, _, transform = str(spec.get(TARGET, "")).rpartition(".")
    if module.partition(".")[0] != "torchio":
        raise ConfigError(
            f"{key}.{TARGET}: expected a transform of TorchIO, torchio.<class>; found {spec.get(TARGET)!r}"
        )
    try:
        found: Any = getattr(importlib.import_module(module), transform, None)
    except ImportError as error:
        raise ConfigError(f"{key}: needs TorchIO ({error}); pip install 'fran[mr]'") from error
    if not inspect.isclass(found):
        known = [n for n in vars(importlib.import_module(module)) if n.startswith("Random")]
        raise ConfigError(f"{key}.{TARGET}: {module} has no transform {transform!r}; {choices(transform, known)}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k not in (TARGET, CHANCE)}
    try:
        built: Any = found(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {spec[TARGET]} refused {arguments}: {error}") from error
    made: Callable[[torch.Tensor], torch.Tensor] = built
    return made
