"""Whether 3-D convolutions are quick here: measured, for lists of processors and torch builds go stale."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

TRIALS = 8
#: Side in voxels and channels of the measured convolutions; above the ratio, only the small one is tried.
SMALL_TRIAL, TRIAL, HOPELESS = (16, 8), (32, 16), 10.0
#: Seconds after which no further repeat begins.
TRIAL_S = 0.2
Ways = Mapping[str, tuple[torch.dtype, torch.memory_format]]


def convolution_seconds(device: torch.device, precision: str, *, channels_last: bool) -> dict[str, float]:
    """Shortest of some timings of one 3-D convolution; random numbers are left alone.

    A path without a kernel of its own was seen to be 200 times slower, so a small convolution is tried first, and a
    larger one, whose time tells more, only where that is not far off.

    Returns:
        "float32" and "precision", and with `channels_last` also "contiguous": see `alarm_rules.slow_convolution`.
    """
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision, torch.float32)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    ways = {"float32": (torch.float32, layout), "precision": (dtype, layout)}
    if channels_last:
        ways["contiguous"] = (dtype, torch.contiguous_format)
    small = _shortest(device, ways, *SMALL_TRIAL)
    hopeless = max(small.values()) > HOPELESS * min(small.values())
    return small if hopeless else _shortest(device, ways, *TRIAL)


@torch.no_grad()
def _shortest(device: torch.device, ways: Ways, side: int, width: int) -> dict[str, float]:
    # two, as in a training: a batch of one takes another way in PyTorch, 20 times as long in float32 on a CPU
    image = torch.ones(2, width, side, side, side, device=device)
    weight = torch.full((width, width, 3, 3, 3), 0.01, device=device)
    best, started = dict.fromkeys(ways, float("inf")), time.perf_counter()
    for number in range(TRIALS + 1):  # the first time also builds what the library keeps
        if number and time.perf_counter() - started > TRIAL_S:
            break
        for name, (kind, layout) in ways.items():
            laid, kernel = image.to(dtype=kind, memory_format=layout), weight.to(dtype=kind)
            best[name] = min(best[name], _timed(laid, kernel))
    return best


def _timed(image: torch.Tensor, weight: torch.Tensor) -> float:
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    started = time.perf_counter()
    torch.nn.functional.conv3d(image, weight, padding=1)
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - started


def has_onednn() -> bool:
    """Whether torch has the library that makes convolutions quick on a CPU."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def has_cudnn() -> bool:
    """Whether torch has the library that makes convolutions quick on a GPU, and uses it."""
    return bool(torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled)  # type: ignore[no-untyped-call]
