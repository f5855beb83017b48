"""What `auto` means on this machine."""

from __future__ import annotations

import torch

from fran.errors import ConfigError
from fran.training.settings import TrainerSettings

GPU_NAMES = ("gpu", "cuda")
MANY_STEPS = 20_000
"""At some seconds a step, as a network of usual size takes on a few cores: a day."""


def resolve_accelerator(accelerator: str) -> str:
    """Turn "auto" into "gpu" or "cpu"; others stay as they are.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if accelerator == "auto":
        return "gpu" if available else "cpu"
    if accelerator in GPU_NAMES and not available:
        raise ConfigError(
            f"trainer.accelerator: expected a CUDA device for {accelerator!r}, found none; use auto or cpu"
        )
    return "gpu" if accelerator in GPU_NAMES else accelerator


def resolve_precision(precision: str, accelerator: str) -> str:
    """Lightning's precision for "auto": bf16-mixed where the hardware computes in it, else 32-true.

    A CPU does not train in fp16: there "16-mixed" is "auto".
    """
    if precision != "auto" and (precision, accelerator) != ("16-mixed", "cpu"):
        return precision
    if accelerator == "gpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16-mixed" if accelerator == "cpu" and supported is not None and supported() else "32-true"


def device_name(accelerator: str) -> str:
    """What a training runs on, with the name of its GPU.

    Example:
        >>> device_name("cpu")
        'cpu'
    """
    return f"gpu: {torch.cuda.get_device_name()}" if accelerator == "gpu" else accelerator


def days_on_cpu(settings: TrainerSettings, accelerator: str) -> str:
    """What to do instead of a training that is of a GPU's length and would take a CPU days; empty for any other.

    Example:
        >>> days_on_cpu(TrainerSettings(max_time="3600"), "cpu"), days_on_cpu(TrainerSettings(), "gpu")
        ('', '')
    """
    steps = settings.max_epochs * settings.steps_per_epoch
    if accelerator != "cpu" or settings.max_time is not None or steps < MANY_STEPS:
        return ""
    return (
        f"{steps} steps on a CPU take days; preset=cpu trains a smaller network in minutes to hours, and"
        " trainer.max_time=00:30:00 ends a training in time"
    )


def use_hardware(threads: int) -> None:
    """Set torch's CPU threads (0 leaves them) and allow TF32 on GPUs."""
    if threads > 0:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
