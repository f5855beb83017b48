"""What share of a validation Dice and NSD take beside the network: one JSON line on stdout.

    python benchmarks/bench_validation.py FOLDER_OF_A_MANIFEST --patch 96 96 64 --cases 4

Whole cases are predicted as in training, by the network `--model` with `--features` channels and the weights that it
begins with; what is measured is the reference moved by a voxel along each axis, for the maps of a network that has
learnt nothing have surfaces everywhere. Seconds are CPU time, medians over the cases, of `--threads` threads. On a GPU
the share of NSD is larger, since the network alone is quicker there: `nsd_cpu_s` is what to compare with its time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median


def cpu_s(work: Callable[..., object], *arguments: object) -> float:
    began = time.process_time()
    work(*arguments)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 64])
    parser.add_argument("--model", default="dynunet")
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--nsd-mm", type=float, default=2.0)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    from omegaconf import OmegaConf

    from fran.io.manifest import Manifest
    from fran.labels import LabelScheme
    from fran.networks.build import build_network, fill_spec
    from fran.training.case_scores import measure_case
    from fran.training.validation import predict_channels
    from fran.workflows.composition import composed

    torch.set_num_threads(args.threads)
    manifest = Manifest.load(args.folder)
    labels = LabelScheme(tuple(sorted({value for entry in manifest.cases.values() for value in entry.labels})))
    chosen, patch = sorted(manifest.cases)[: args.cases], tuple(args.patch)
    spacing = manifest.cases[chosen[0]].spacing_mm
    preset = OmegaConf.to_container(composed(f"model/{args.model}", [f"model.filters={args.features}"])["model"])
    network = build_network(fill_spec(preset, 1, labels.n_classes, patch, spacing)).eval()
    network.to(memory_format=torch.channels_last_3d)
    figures: dict[str, list[float]] = {"predict": [], "dice": [], "nsd": [], "voxels": []}
    for case_id in chosen:
        image, lm = manifest.reader(case_id).read_all()
        batch = torch.from_numpy(image).float()[None, None] / 100
        ref = torch.from_numpy(labels.to_channels(lm))
        pred = torch.roll(ref, (1, 1, 1), (0, 1, 2))
        rest = labels.n_classes, manifest.cases[case_id].spacing_mm
        dice = cpu_s(measure_case, pred, ref, *rest, None)
        both = cpu_s(measure_case, pred, ref, *rest, args.nsd_mm)
        figures["predict"].append(cpu_s(predict_channels, network, batch, patch, labels.n_classes, args.overlap))
        figures["dice"].append(dice)
        figures["nsd"].append(both - dice)
        figures["voxels"].append(float(lm.size))
    predict, dice, nsd, voxels = (median(values) for values in figures.values())
    print(
        json.dumps(
            {
                "framework": "fran",
                "network": type(network).__name__,
                "features": args.features,
                "classes": labels.n_classes,
                "cases": len(chosen),
                "voxels": int(voxels),
                "predict_cpu_s": round(predict, 3),
                "dice_cpu_s": round(dice, 4),
                "nsd_cpu_s": round(nsd, 4),
                "nsd_share": round(nsd / (predict + dice + nsd), 4),
                "load_before": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
