"""What `fran doctor` looks at in the machine: versions, cores, memory, GPU, the speed of convolutions."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.io.memory import free_memory
from fran.preprocessing.memory import usable_cores
from fran.workflows.findings import Finding, Findings, size_text

if TYPE_CHECKING:
    import torch

SHOWN = ("torch", "pytorch-lightning", "monai", "mlflow", "hydra-core", "numpy", "nibabel", "simpleitk", "h5py", "ray")
EXTRAS = {
    "ray": "preprocessing and sweeps on a Ray cluster",
    "hpc": "models from a cluster",
    "mr": "artefacts of MR in training (augmentation=mr)",
    "onnx": "export to ONNX",
    "optuna": "searches that learn from their trials",
    "postgres": "a team's runs in PostgreSQL",
    "slurm": "sweeps as jobs of a SLURM cluster",
    "dicom": "DICOM in and out",
    "docs": "building the pages",
}
LEAST_SHARED = 1_000_000_000
"""Bytes of shared memory that loader processes want."""


def versions() -> Findings:
    """Installed versions against those that fran asks for, and extras that are missing."""
    from fran import __version__

    installed = {name: version for name in SHOWN if (version := _version(name))}
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    yield Finding("versions", f"fran {__version__}, Python {platform.python_version()}, {listed}")
    try:
        asked = metadata.requires("fran") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            "requirements", "fran is not installed, so nothing says what it needs", "note", "pip install -e ."
        )
        return
    yield from unmet(asked)


def unmet(asked: Iterable[str], versions: Mapping[str, str] | None = None) -> Findings:
    """Requirements that are not met: problems where fran needs them, notes where an extra does.

    Args:
        asked: requirements as package metadata states them.
        versions: installed ones by name, instead of asking.
    """
    from packaging.requirements import Requirement

    missing: dict[str, list[str]] = {}
    for requirement in map(Requirement, asked):
        extra = next(iter(re.findall(r"extra == [\"'](\w+)[\"']", str(requirement.marker or ""))), "")
        if extra not in ("", *EXTRAS) or (not extra and requirement.marker and not requirement.marker.evaluate()):
            continue
        found = _version(requirement.name) if versions is None else versions.get(requirement.name, "")
        if requirement.specifier.contains(found or "0", prereleases=True) and found:
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        if not extra:
            yield Finding(
                requirement.name, f"{found or 'missing'}; fran needs {wanted}", "problem", f"pip install '{wanted}'"
            )
        elif found:
            step = f"pip install '{wanted}'"
            yield Finding(requirement.name, f"{found}; fran[{extra}] needs {wanted}", "problem", step)
        else:
            missing.setdefault(extra, []).append(requirement.name)
    for extra, names in missing.items():
        yield Finding(
            f"fran[{extra}]",
            f"not installed ({', '.join(names)}): {EXTRAS[extra]}",
            "note",
            f"pip install 'fran[{extra}]'",
        )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def machine(cgroup: Path = Path("/sys/fs/cgroup"), shared: Path = Path("/dev/shm")) -> Findings:
    """Cores, memory, shared memory and threads, with what a control group (a container, a Slurm job) leaves of them."""
    import torch

    cores, quota = usable_cores(), cpu_quota(cgroup)
    usable = min(cores, quota or cores)
    limit = f", the control group allows {quota:g}" if quota is not None and quota < cores else ""
    yield Finding("cores", f"{cores} of {os.cpu_count()}{limit}")
    threads = torch.get_num_threads()
    if threads > max(usable, 1):
        found = f"torch starts {threads} threads on {usable:g} cores, which makes them wait for each other"
        yield Finding("threads", found, "problem", f"export OMP_NUM_THREADS={max(int(usable), 1)}")
    else:
        yield Finding("threads", str(threads))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    allowed = memory_limit(cgroup)
    limit = f", the control group allows {size_text(allowed)}" if allowed is not None and allowed < total else ""
    free = min(free_memory(), allowed or total)
    yield Finding("memory", f"{size_text(free)} free of {size_text(total)}{limit}")
    yield from _shared(shared)


def _shared(folder: Path) -> Findings:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return
    found = f"{size_text(usage.free)} free of {size_text(usage.total)}"
    if usage.free >= LEAST_SHARED:
        yield Finding("shared memory", found)
        return
    yield Finding(
        "shared memory",
        f"{found}; loader processes hand crops over in it and die with a bus error where it is full",
        "problem",
        "docker run --shm-size=8g (or --ipc=host); without: trainer.num_workers=0",
    )


def cpu_quota(cgroup: Path) -> float | None:
    """Cores that the control group pays for; None without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = (_number(cgroup / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if not quota.isdecimal() or not period.isdecimal():
        return None
    return int(quota) / int(period)


def memory_limit(cgroup: Path) -> int | None:
    """Bytes that the control group allows; None without a limit."""
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        text = _number(file)
        if text.isdecimal() and int(text) < 1 << 60:
            return int(text)
    return None


def _number(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def devices() -> Findings:
    """GPUs, and how long a convolution takes in float32 and in the type that a training would take."""
    import torch

    from fran.training.alarm_rules import missing_kernels
    from fran.training.convolution import has_cudnn, has_onednn

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield from _gpu(torch, index)
        device, kind = torch.device("cuda"), "gpu"
    else:
        yield _no_gpu(torch)
        device, kind = torch.device("cpu"), "cpu"
    missing = missing_kernels(kind, onednn=has_onednn(), cudnn=has_cudnn())
    if missing is not None:
        yield Finding("kernels", missing.seen, "problem", missing.remedy)
    yield convolution(device, kind)


def _gpu(torch: Any, index: int) -> Findings:
    with torch.cuda.device(index):
        free, total = torch.cuda.mem_get_info()
        about = torch.cuda.get_device_properties(index)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    capability = f"sm_{about.major}{about.minor}"
    bf16 = "bf16 in hardware" if native else "no bf16 in hardware: precision=auto takes float16"
    found = f"{about.name}, {size_text(free)} free of {size_text(total)}, {capability}, {bf16}"
    known = torch.cuda.get_arch_list()
    # a build for sm_80 runs on every sm_8x, and its PTX on what came later
    if any(a.startswith(f"sm_{about.major}") or a.startswith("compute_") for a in known):
        yield Finding(f"GPU {index}", found)
        return
    yield Finding(
        f"GPU {index}",
        f"{found}; torch {torch.__version__} has kernels for {', '.join(known)} alone",
        "problem",
        "a torch build for this GPU: https://pytorch.org/get-started/locally",
    )


def _no_gpu(torch: Any) -> Finding:
    driver = Path("/proc/driver/nvidia/version")
    if not driver.is_file() and shutil.which("nvidia-smi") is None:
        return Finding("GPU", "none; trainings take the CPU (preset=cpu for networks of that size)", "note")
    if torch.version.cuda is None:
        reason = f"torch {torch.__version__} is a build without CUDA"
        return Finding(
            "GPU",
            f"a driver is there, but {reason}",
            "problem",
            "pip install torch with CUDA: https://pytorch.org/get-started/locally",
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Finding("GPU", f"hidden by CUDA_VISIBLE_DEVICES={hidden!r}", "note", "unset CUDA_VISIBLE_DEVICES")
    return Finding(
        "GPU",
        f"a driver is there, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it",
        "problem",
        "nvidia-smi says whether the driver works; it must be as new as that CUDA",
    )


def convolution(device: torch.device, kind: str) -> Finding:
    """Time of a 3-D convolution in float32 and in the type that a training takes, and whether that one is slower.

    A type that the processor only emulates takes many seconds and no training by itself: it is not tried.
    """
    from fran.training.convolution import convolution_seconds
    from fran.training.hardware import resolve_precision

    automatic = resolve_precision("auto", kind)
    return judged(convolution_seconds(device, automatic, channels_last=False), automatic)


def judged(seconds: Mapping[str, float], precision: str) -> Finding:
    """What the times of a convolution mean.

    Args:
        seconds: "float32" and "precision", see `fran.training.convolution.convolution_seconds`.
        precision: Lightning's name of the precision that a training with ``trainer.precision=auto`` takes.

    Example:
        >>> judged({"float32": 0.19, "precision": 0.19}, "32-true").found
        'float32 190 ms; precision=auto takes 32-true: no 16-bit arithmetic in hardware'
    """
    from fran.training.alarm_rules import slow_convolution

    found = f"float32 {_ms(seconds['float32'])}"
    if precision == "32-true":
        return Finding("3-D convolution", f"{found}; precision=auto takes 32-true: no 16-bit arithmetic in hardware")
    found += f", {precision} {_ms(seconds['precision'])}"
    alarm = slow_convolution(seconds, precision, channels_last=False)
    if alarm is None:
        return Finding("3-D convolution", found)
    return Finding("3-D convolution", f"{found}; {alarm.cause}", "problem", alarm.remedy)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.2g} ms"
