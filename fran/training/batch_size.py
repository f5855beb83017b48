"""The largest batch that a device's memory takes, found by steps of training on noise.

On a GPU the candidate is tried, and lowered until it runs. On a CPU, where too large a batch would get the process
killed instead of an error, it follows from how memory grows with a few crops more.
"""

from __future__ import annotations

import gc
import logging
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fran.errors import ConfigError, FranError
from fran.losses.segmentation import SegmentationLoss
from fran.networks.build import build_network
from fran.training.hardware import resolve_accelerator, resolve_precision, use_hardware
from fran.training.module import loss_terms
from fran.training.optimisers import make_optimiser
from fran.training.parts import IN_CHANNELS, complete_network
from fran.training.spec import TrainSpec

USED = 0.8
MOST = 256
CLEAR = 32 * 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_GROUP = Path("/sys/fs/cgroup")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The batch that fits.

    Attributes:
        batch_size: crops of a forward pass.
        fixed, patch: bytes whatever the batch, and bytes for each crop.
        budget: bytes that were to be filled.
        device: where.
    """

    batch_size: int
    fixed: int
    patch: int
    budget: int
    device: str

    def __str__(self) -> str:
        gib = [f"{size / 2**30:.2f}" for size in (self.patch, self.fixed, self.budget)]
        most = f" ({MOST} is the most that is tried)" if self.batch_size == MOST else ""
        return (
            f"batch size {self.batch_size} fits on the {self.device}{most}: {gib[0]} GiB for each crop and {gib[1]} GiB"
            f" besides, within {gib[2]} GiB ({USED:.0%} of what is free)"
        )


def find_batch_size(spec: TrainSpec) -> Found:
    """Try steps of the training `spec` describes, with its network, patch, loss, optimiser and precision.

    What loader processes, cached cases and whole volumes in validation take is left to the share that stays free.

    Raises:
        FranError: not even one crop fits.
        ConfigError: memory cannot be measured on this system.
    """
    accelerator = resolve_accelerator(spec.trainer.accelerator)
    use_hardware(spec.trainer.threads)
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    if device.type == "cpu" and accelerator != "cpu":
        raise ConfigError(f"find_batch_size: expected trainer.accelerator gpu or cpu, found {accelerator}")
    step = trial_step(spec, device, resolve_precision(spec.trainer.precision, accelerator))
    found = _on_gpu(step) if device.type == "cuda" else _on_cpu(step)
    if not found.batch_size:
        raise FranError(
            f"find_batch_size: expected room for one crop of {list(spec.patch_size)}, which takes"
            f" {(found.fixed + found.patch) / 2**30:.2f} GiB; the {found.device} has {found.budget / 2**30:.2f} GiB."
            " Lower patch_dim0, patch_dim1 or model.filters"
        )
    return found


def trial_step(spec: TrainSpec, device: torch.device, precision: str) -> Callable[[int], None]:
    """Function: make one step of training on so many crops of noise."""
    settings, n_classes = spec.trainer, spec.data.labels.n_classes
    network = build_network(complete_network(spec), spec.trusted).to(device).train()
    loss = SegmentationLoss(loss_terms(settings.loss), settings.loss.head_weights).to(device)
    optimiser = make_optimiser(network, settings.optimiser, fused=precision != "16-mixed")
    layout = torch.channels_last_3d if settings.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack the 3-D layout
    if settings.compile:
        network.compile()

    def step(batch_size: int) -> None:
        image = torch.randn(batch_size, IN_CHANNELS, *spec.patch_size, device=device).contiguous(memory_format=layout)
        target = torch.randint(n_classes, (batch_size, 1, *spec.patch_size), dtype=torch.uint8, device=device)
        try:
            with _autocast(device, precision):
                value = loss(network(image), target)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        finally:  # a step that ran out of memory must leave none taken
            optimiser.zero_grad()

    return step


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    kind = torch.float16 if precision == "16-mixed" and device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=precision != "32-true")


def _on_cpu(step: Callable[[int], None]) -> Found:
    room = free_memory()
    before = _resident("VmRSS")
    budget = int(USED * room)
    _peak(step, 1)  # makes the optimiser's state and what the libraries set up once
    batch, peaks = 1, [_peak(step, 1) - before]
    # one crop may take less than what the allocator keeps anyway: go on until the growth stands out
    while not _stands_out(peaks) and batch < MOST and 2 * peaks[-1] < budget:
        batch *= 2
        peaks.append(_peak(step, batch) - before)
    patch = max(-(-(peaks[-1] - peaks[-2]) // (batch // 2)), 1) if len(peaks) > 1 else peaks[0]
    fixed = max(peaks[-1] - batch * patch, 0)
    return Found(max(0, min(MOST, (budget - fixed) // patch)), fixed, patch, budget, "CPU")


def _stands_out(peaks: list[int]) -> bool:
    growth = peaks[-1] - peaks[-2] if len(peaks) > 1 else 0
    return growth > CLEAR and growth > peaks[-1] / 4


def _on_gpu(step: Callable[[int], None]) -> Found:
    budget = int(USED * torch.cuda.mem_get_info()[0])
    one, two = (_peak_gpu(step, n) for n in (1, 2))
    patch = max(two - one, 1) if two else budget
    fixed = max(one - patch, 0)
    candidate = min(MOST, max((budget - fixed) // patch, 1)) if one else 0
    while candidate and not 0 < _peak_gpu(step, candidate) <= budget:
        candidate -= max(1, candidate // 10)
    return Found(candidate, fixed, patch, budget, "GPU")


def _peak_gpu(step: Callable[[int], None], batch_size: int) -> int:
    """Most bytes that a step takes from the GPU; 0 where it does not have them."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        step(batch_size)
    except torch.OutOfMemoryError:
        return 0
    torch.cuda.synchronize()
    return torch.cuda.max_memory_reserved()


def _peak(step: Callable[[int], None], batch_size: int) -> int:
    """Most bytes that the process held during a step."""
    gc.collect()
    try:
        _CLEAR.write_text("5", encoding="ascii")  # forget the former peak: proc(5)
        step(batch_size)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise FranError(
            f"find_batch_size: a step of {batch_size} crops does not fit into memory; lower patch_dim0, patch_dim1 or"
            f" model.filters ({str(error).splitlines()[0]})"
        ) from error
    except OSError as error:
        raise ConfigError(f"find_batch_size: the peak of memory cannot be measured on this system ({error})") from error
    return _resident("VmHWM")


def _resident(what: str) -> int:
    """A figure of /proc/self/status in bytes."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise ConfigError(f"find_batch_size: memory cannot be measured on this system ({error})") from error
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, of its control group, of its own limit."""
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    rooms = [next(int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemAvailable"))]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        # a limit of addresses counts what is freed and kept for later too: half of it is for what is in use
        rooms.append((limit - _resident("VmSize")) // 2)
    try:
        largest, used = (
            (_GROUP / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
        )
        rooms += [] if largest == "max" else [int(largest) - int(used)]
    except OSError:
        log.debug("no control group limits the memory")
    return max(0, min(rooms))
