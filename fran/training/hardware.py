"""What `auto` means on this machine."""

from __future__ import annotations

import torch

from fran.errors import ConfigError

GPU_NAMES = ("gpu", "cuda")


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
    """Lightning's precision for "auto": bf16-mixed where the hardware computes in it, else 32-true."""
    if precision != "auto":
        return precision
    if accelerator == "gpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16-mixed" if accelerator == "cpu" and supported is not None and supported() else "32-true"


def use_hardware(threads: int) -> None:
    """Set torch's CPU threads (0 leaves them) and allow TF32 on GPUs."""
    if threads > 0:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
