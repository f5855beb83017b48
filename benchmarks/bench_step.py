"""Time one optimiser step: one JSON line with the keys of a peer's line.

    python benchmarks/bench_step.py --model unet --patch 64 64 48 --spacing 1.5 1.5 3 --features 32

Forward, deeply supervised loss, backward, clipping, SGD with Nesterov momentum; data already in memory. `step_*` and
`forward_one_patch_*` are medians of `--steps` after 2 to warm up. `step_memory_mb` is the peak beyond what the process
held before the network was built, `estimate_mb` what fran says beforehand, `libraries_mb` what PyTorch and oneDNN took
before that for a step of a tiny network: pages of code, threads, compiled kernels. FRAN_BENCH_TOOLS names the folder of
meter.py.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

sys.path.insert(0, os.environ.get("FRAN_BENCH_TOOLS", "."))

from meter import Meter

Figures = dict[str, Any]
TINY = {"_target_": "fran.networks.dynunet.dynunet", "filters": 4, "max_filters": 8}


def measured(name: str, repeats: int, work: Callable[[], object]) -> Figures:
    meters = []
    for _ in range(repeats):
        with Meter() as meter:
            work()
        meters.append(meter)
    return {
        f"{name}_wall_s": median(m.wall_s for m in meters),
        f"{name}_cpu_s": median(m.cpu_s for m in meters),
        f"{name}_peak_rss_mb": max(m.peak_rss_mb for m in meters),
    }


def specification(args: argparse.Namespace) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from fran.networks.build import fill_spec
    from fran.workflows.composition import composed

    changed = [f"model.filters={args.features}", *args.set]
    spec: Any = OmegaConf.to_container(composed(f"model/{args.model}", changed)["model"])
    return fill_spec(spec, 1, args.classes, tuple(args.patch), tuple(args.spacing))


def run(args: argparse.Namespace) -> Figures:
    import torch

    from fran.losses.segmentation import SegmentationLoss, heads_of
    from fran.networks.build import build_network, fill_spec
    from fran.networks.convolution import quicken_on_cpu
    from fran.networks.cost import network_cost
    from fran.training.memory import step_memory
    from fran.training.optimisers import make_optimiser
    from fran.training.settings import OptimiserSettings

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    layout = torch.channels_last_3d if args.layout == "channels_last" else torch.contiguous_format
    spec = specification(args)
    estimate = step_memory(
        network_cost(spec, tuple(args.patch)), args.batch, half=args.precision == "bf16", optimiser="sgd"
    )
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16")
    loss = SegmentationLoss()
    with Meter() as bare:
        pass
    tiny = build_network(fill_spec(TINY, 1, args.classes, (32, 32, 16), (1.5, 1.5, 3.0))).to(memory_format=layout)
    with autocast:
        value = loss(tiny(torch.randn(1, 1, 32, 32, 16)), torch.zeros(1, 1, 32, 32, 16, dtype=torch.uint8))
    value.backward()
    make_optimiser(tiny, OptimiserSettings("sgd", 1e-2, 3e-5)).step()
    del tiny, value
    gc.collect()
    with Meter() as idle:
        pass
    network = build_network(spec).to(memory_format=layout)
    if args.compile:
        network.compile()
    optimiser = make_optimiser(network, OptimiserSettings("sgd", 1e-2, 3e-5))
    image = torch.randn(args.batch, 1, *args.patch).contiguous(memory_format=layout)
    target = torch.randint(args.classes, (args.batch, 1, *args.patch), dtype=torch.uint8)

    def step() -> None:
        optimiser.zero_grad()
        with autocast:
            value = loss(network(image), target)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimiser.step()

    @torch.inference_mode()
    def forward() -> None:
        with autocast:
            network(image[:1])

    with torch.no_grad():
        heads = len(heads_of(network(image[:1])))
    for _ in range(2):
        step()
    figures = measured("step", args.steps, step)
    if args.precision == "fp32":
        quicken_on_cpu(network)  # as fran infer does
    network.eval()
    forward()
    figures |= measured("forward_one_patch", args.steps, forward)
    return {
        "model": args.model,
        "network": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "shape": list(image.shape),
        "deep_supervision_outputs": heads,
        "step_memory_mb": figures["step_peak_rss_mb"] - idle.peak_rss_mb,
        "estimate_mb": estimate.total / 2**20,
        "libraries_mb": idle.peak_rss_mb - bare.peak_rss_mb,
        **figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="unet")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 64, 48], metavar=("X", "Y", "Z"))
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.5, 1.5, 3.0], metavar=("X", "Y", "Z"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="model.KEY=VALUE", help="other settings of the network")
    parser.add_argument("--layout", choices=("channels_last", "contiguous"), default="channels_last")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    load = os.getloadavg()[0]
    settings = {key: getattr(args, key) for key in ("threads", "layout", "precision", "compile")}
    figures = {"framework": "fran", "torch": version("torch"), "load_before": load, **settings, **run(args)}
    rounded = json.loads(json.dumps(figures), parse_float=lambda number: float(f"{float(number):.5g}"))
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
