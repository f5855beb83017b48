"""nnU-Net's training step on noise in a device's memory: one JSON line. bench_gpu.py starts it with nnU-Net's Python.

    NNUNET_PEER=FOLDER_OF_nnunet_peer.py $NNUNET_PYTHON benchmarks/nnunet_gpu_step.py --work W --device cuda

`--work` is a folder in which nnunet_peer.py has prepared and preprocessed. Precision and torch.compile are nnU-Net's
own: fp16 and compiled on a GPU, fp32 on a CPU. The step ends by reading the loss, which waits for the device.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from nnunet_peer import CONFIGURATION, DATASET, load_plans
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    args.preprocessed = args.work / "preprocessed" / DATASET
    plans, _, dataset_json = load_plans(args)
    device, plain = torch.device(args.device), {**plans.plans, "continue_training": False}
    trainer = nnUNetTrainer(plain, CONFIGURATION, 0, dataset_json, device)
    trainer.initialize()
    size = trainer.batch_size, trainer.num_input_channels, *trainer.configuration_manager.patch_size
    image, classes = torch.randn(size, device=device), trainer.label_manager.num_segmentation_heads
    with torch.no_grad():
        scales = [output.shape[2:] for output in trainer.network(image)]
    target = [torch.randint(classes, (len(image), 1, *scale), device=device).float() for scale in scales]
    seconds = []
    for _ in range(args.warmup + args.steps):
        began = perf_counter()
        trainer.train_step({"data": image, "target": target})
        seconds.append(perf_counter() - began)
    on_gpu = device.type == "cuda"
    return {
        "version": version("nnunetv2"),
        "step_s": median(seconds[args.warmup :]),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "outputs": len(scales),
        "compiled": trainer._do_i_compile(),
        "peak_mb": (torch.cuda.max_memory_allocated() / 2**20) if on_gpu else None,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    args = parser.parse_args()
    sys.path.insert(0, os.environ["NNUNET_PEER"])
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str((args.work / name).resolve())
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what nnU-Net prints goes to stderr
    print(json.dumps(run(args)), file=answer)


if __name__ == "__main__":
    main()
