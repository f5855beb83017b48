"""Memory of a training step of every shipped network: estimate against measurement, one JSON line each.

    python benchmarks/bench_step_memory.py --patch 64 64 64 --patch 96 64 32 --features 8

Each network is measured in a forked process of its own: two steps (deeply supervised loss, backward, clipping, SGD),
peak resident memory (the kernel's high-water mark) beyond what the process held after a step of a tiny network, for
PyTorch and oneDNN set up code and kernels in the first step of a process, which is no memory of the network.
With MALLOC_MMAP_THRESHOLD_=65536 in the environment glibc gives each freed block back, so that the peak is that of
the tensors; without it freed blocks of up to 32 MB stay with the process in pieces.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from time import process_time
from typing import Any

import torch

from fran.losses.segmentation import SegmentationLoss
from fran.networks.build import build_network, fill_spec
from fran.networks.cost import network_cost
from fran.training.memory import step_memory
from fran.training.optimisers import make_optimiser
from fran.training.settings import OptimiserSettings

TINY = {"_target_": "fran.networks.dynunet.dynunet", "filters": 4, "max_filters": 8}
SPACING = (1.5, 1.5, 1.5)
CLASSES = 3
SGD = OptimiserSettings("sgd", 1e-2, 3e-5)
Vox = tuple[int, int, int]


def resident_mb(what: str) -> float:
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith(what))


def specification(name: str, features: int, patch: Vox) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from fran.workflows.composition import composed

    filters = -(-features // 12) * 12 if name == "swinunetr" else features
    spec: Any = OmegaConf.to_container(composed(f"model/{name}", [f"model.filters={filters}"])["model"])
    return fill_spec(spec, 1, CLASSES, patch, SPACING)


def steps(spec: dict[str, Any], patch: Vox, batch: int, *, half: bool) -> None:
    """Two, so that the optimiser's numbers are there in the second."""
    network = build_network(spec).to(memory_format=torch.channels_last_3d)
    loss, optimiser = SegmentationLoss(), make_optimiser(network, SGD)
    image = torch.randn(batch, 1, *patch).contiguous(memory_format=torch.channels_last_3d)
    target = torch.randint(CLASSES, (batch, 1, *patch), dtype=torch.uint8)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss(network(image), target)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimiser.step()
        optimiser.zero_grad()


def measure(spec: dict[str, Any], patch: Vox, batch: int, half: bool, answer: Connection) -> None:
    torch.set_num_threads(1)
    steps(fill_spec(TINY, 1, CLASSES, (32, 32, 16), SPACING), (32, 32, 16), 2, half=half)
    gc.collect()
    before = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the former peak: proc(5)
    begun = process_time()
    steps(spec, patch, batch, half=half)
    answer.send((resident_mb("VmHWM") - before, process_time() - begun))


def compared(name: str, args: argparse.Namespace, patch: Vox) -> dict[str, Any]:
    spec, half = specification(name, args.features, patch), args.precision == "bf16"
    cost = network_cost(spec, patch)
    estimate = step_memory(cost, args.batch, half=half, optimiser="sgd").total / 2**20
    there, here = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=measure, args=(spec, patch, args.batch, half, here))
    process.start()
    here.close()
    try:
        measured, seconds = there.recv()
    except EOFError:  # the process was killed, for want of memory perhaps
        measured, seconds = float("nan"), float("nan")
    process.join()
    figures = {"estimate_mb": estimate, "measured_mb": measured, "cpu_s": seconds}
    parts = {"kept_mb": cost.kept / 2**20, "largest_mb": cost.largest / 2**20, "parameters": cost.parameters}
    ratio = round(estimate / measured, 3)
    return {"network": name, "patch": patch, "ratio": ratio, **{k: round(v, 1) for k, v in (figures | parts).items()}}


def main() -> None:
    from fran.workflows.locations import conf_dir

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
    parser.add_argument("--models", nargs="+", default=names)
    parser.add_argument("--patch", type=int, nargs=3, action="append", metavar=("X", "Y", "Z"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for patch in args.patch or [[64, 64, 64], [96, 64, 32]]:
        for name in args.models:
            row = compared(name, args, (patch[0], patch[1], patch[2]))
            kept = {key: getattr(args, key) for key in ("batch", "features", "precision")}
            print(json.dumps({"framework": "fran", **kept, **row}), flush=True)


if __name__ == "__main__":
    main()
